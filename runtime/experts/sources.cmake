list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/experts/cache.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/experts/cache_parameters.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/experts/group.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/experts/predict.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/experts/schedule.cpp)
