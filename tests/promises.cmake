# Fails when one of the promises R1 to R16 of docs/reliability.md has no test with its tag, such as [R5], or has one that the
# table there does not know. R13 is what scripts/check_concurrency and the thread sanitizer are for.
#   cmake -D SOURCE=... -P promises.cmake

cmake_minimum_required(VERSION 3.23...3.31)

macro(complain)
  message(SEND_ERROR ${ARGN})
endmacro()

file(GLOB_RECURSE files ${SOURCE}/tests/*.cpp)
set(found "")
foreach(file IN LISTS files)
  file(READ ${file} text)
  string(REGEX MATCHALL "\\[R[0-9]+\\]" tags "${text}")
  list(APPEND found ${tags})
endforeach()
list(REMOVE_DUPLICATES found)

foreach(number RANGE 1 16)
  if(number EQUAL 13)
    continue()
  endif()
  if(NOT "[R${number}]" IN_LIST found)
    complain("No test has the tag [R${number}]: see tests/promises.cmake")
  endif()
  list(REMOVE_ITEM found "[R${number}]")
endforeach()
list(REMOVE_ITEM found "[R13]")
if(found)
  complain("There are no such promises: ${found}")
endif()
