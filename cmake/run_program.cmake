# Runs PROGRAM, which must exit with 0 and, if EXPECTED names a file, print exactly what is in it.
cmake_minimum_required(VERSION 3.23)

execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "Ended with ${result}.\n${output}\n${errors}")
endif()
if(EXPECTED)
  file(READ ${EXPECTED} expected)
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "Printed:\n${output}\nThe page says:\n${expected}")
  endif()
endif()
