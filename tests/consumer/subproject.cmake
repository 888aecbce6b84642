# cohort as a part of another project (WAY: add_subdirectory or fetch_content), which must stay as it was.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)

configure(
  ${CMAKE_CURRENT_LIST_DIR}/${WAY} ${WORK}/build -D COHORT_SOURCE=${COHORT_SOURCE}
  -D FETCHCONTENT_SOURCE_DIR_COHORT=${COHORT_SOURCE} --no-warn-unused-cli
)
build(${WORK}/build)
run_program(${WORK}/build)

cmake_path(GET CMAKE_COMMAND PARENT_PATH bin)
run(${CMAKE_COMMAND} -E chdir ${WORK}/build ${bin}/ctest -N -C Debug)
if(NOT output MATCHES "Total Tests: 1\n")
  message(FATAL_ERROR "The parent's tests are not its own alone:\n${output}")
endif()

file(REMOVE_RECURSE ${WORK}/installed)
run(${CMAKE_COMMAND} --install ${WORK}/build --config Debug --prefix ${WORK}/installed)
file(GLOB_RECURSE files RELATIVE ${WORK}/installed ${WORK}/installed/*)
if(NOT files MATCHES "^bin/app[^;]*$")
  message(FATAL_ERROR "Installing the parent installed ${files}")
endif()
