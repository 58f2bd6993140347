list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/check.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/crc32c.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/flat.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/index.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/open.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/predictors.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/sections.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/bundle/verify.cpp)
