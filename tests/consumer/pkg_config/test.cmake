# No build system at all: the compiler, with the flags that pkg-config prints.
include(${CMAKE_CURRENT_LIST_DIR}/../common.cmake)

file(GLOB_RECURSE pc ${WORK}/moved/cohort.pc)
cmake_path(GET pc PARENT_PATH folder)
set(ENV{PKG_CONFIG_PATH} ${folder})

run(${PKG_CONFIG} --modversion cohort)
if(NOT output STREQUAL "${COHORT_VERSION}\n")
  message(FATAL_ERROR "pkg-config says version ${output}")
endif()

run(${PKG_CONFIG} --cflags --libs cohort)
separate_arguments(flags UNIX_COMMAND "${output}")
file(REMOVE_RECURSE ${WORK}/pkg_config)
file(MAKE_DIRECTORY ${WORK}/pkg_config)
run(${COMPILER} -std=c++20 ${CMAKE_CURRENT_LIST_DIR}/../main.cpp ${flags} -o ${WORK}/pkg_config/app)

# Flags for the run path are the affair of who links a shared library; here its folder is named when the program runs.
cmake_path(GET folder PARENT_PATH libdir)
run_program(${WORK}/pkg_config ${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${libdir})
