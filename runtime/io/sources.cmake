list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/io/device.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/io/file.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/io/pool_reader.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/io/reader.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/io/syscalls.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/io/uring_reader.cpp)
