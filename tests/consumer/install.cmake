# Builds a static or shared cohort (KIND), installs it, and moves the tree to WORK/moved, where the other tests look.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)

if(KIND STREQUAL "shared")
  set(shared ON)
  set(libdir lib/x86_64-linux-gnu)  # as on Debian: the paths to the prefix must be right from here, too
else()
  set(shared OFF)
  set(libdir lib)
endif()

configure(
  ${COHORT_SOURCE} ${WORK}/cohort -D BUILD_SHARED_LIBS=${shared} -D COHORT_BUILD_TESTS=OFF -D COHORT_BUILD_EXAMPLES=OFF
  -D CMAKE_INSTALL_PREFIX=${WORK}/installed -D CMAKE_INSTALL_LIBDIR=${libdir}
)
build(${WORK}/cohort)

file(REMOVE_RECURSE ${WORK}/installed ${WORK}/moved)
run(${CMAKE_COMMAND} --install ${WORK}/cohort --config Debug)
file(RENAME ${WORK}/installed ${WORK}/moved)

file(GLOB_RECURSE files ${WORK}/moved/*.cmake ${WORK}/moved/*.pc)
foreach(file IN LISTS files)
  file(READ ${file} text)
  string(FIND "${text}" "${WORK}" position)
  if(NOT position EQUAL -1)
    message(FATAL_ERROR "${file} names the folder in which it was made.")
  endif()
endforeach()
