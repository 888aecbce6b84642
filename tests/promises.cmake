# Fails when one of the promises R1 to R16 of docs/reliability.md has no test with its tag, such as [R5], or has one that the
# table there does not know; and for R13, when the library has a stand-alone fence or a sanitizer is told to look away.
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

# R13
file(GLOB_RECURSE sources ${SOURCE}/include/*.hpp ${SOURCE}/src/*.hpp ${SOURCE}/src/*.cpp)
foreach(source IN LISTS sources)
  file(STRINGS ${source} fences REGEX "atomic_thread_fence|atomic_signal_fence|no_sanitize")
  if(fences)
    complain("R13: ${source} has what a thread sanitizer does not see: ${fences}")
  endif()
endforeach()
file(GLOB_RECURSE suppressions ${SOURCE}/cmake/*suppress* ${SOURCE}/tests/*suppress* ${SOURCE}/scripts/*suppress*)
if(suppressions)
  complain("R13: a sanitizer is told to look away: ${suppressions}")
endif()
