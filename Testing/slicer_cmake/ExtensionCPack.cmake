message(STATUS "package ${PROJECT_NAME}")
