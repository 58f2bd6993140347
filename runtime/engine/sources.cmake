list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/expert_reads.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/expert_runner.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/panels.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/session.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/start.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/engine/threads.cpp)
