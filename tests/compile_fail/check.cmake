# Compiles SOURCE without its mistake, which must work, and with it, which must not, for the reason given in line 1.
cmake_minimum_required(VERSION 3.23)

file(STRINGS ${SOURCE} line LIMIT_COUNT 1)
if(NOT line MATCHES "^// error: (.+)$")
  message(FATAL_ERROR "The first line of ${SOURCE} is not \"// error: <regular expression>\".")
endif()
set(expected "${CMAKE_MATCH_1}")

set(compile ${COMPILER} ${STANDARD} -fsyntax-only -I ${INCLUDE} ${SOURCE})

execute_process(COMMAND ${compile} RESULT_VARIABLE result ERROR_VARIABLE messages)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "Does not compile even without the mistake:\n${messages}")
endif()

execute_process(COMMAND ${compile} -DCOHORT_MISTAKE RESULT_VARIABLE result ERROR_VARIABLE messages)
if(result EQUAL 0)
  message(FATAL_ERROR "The mistake compiles.")
endif()
if(NOT messages MATCHES "${expected}")
  message(FATAL_ERROR "No message matches \"${expected}\":\n${messages}")
endif()
