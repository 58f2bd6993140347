list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/memory/arena.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/memory/budget.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/memory/panels.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/memory/usage.cpp)
