# What the test scripts share. They are run as `cmake -P`, so that no shell is needed.
cmake_minimum_required(VERSION 3.23)

# Runs a command and stops with everything it printed if it fails. Its standard output is left in `output`.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE stdout ERROR_VARIABLE stderr)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${result}.\n${stdout}\n${stderr}")
  endif()
  set(output "${stdout}" PARENT_SCOPE)
endfunction()

# The build only has to be quick, and a project may compile its parts as one file each. That the library can be compiled
# file by file is what the others' builds show.
function(configure source build)
  file(REMOVE_RECURSE ${build})
  run(
    ${CMAKE_COMMAND} -S ${source} -B ${build} -G ${GENERATOR} -D CMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}
    -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=Debug -D CMAKE_UNITY_BUILD=ON -D CMAKE_UNITY_BUILD_BATCH_SIZE=0
    ${ARGN}
  )
endfunction()

function(build folder)
  run(${CMAKE_COMMAND} --build ${folder} --config Debug)
endfunction()

# Runs the program made from main.cpp, wherever the generator put it.
function(run_program folder)
  find_program(program NAMES app PATHS ${folder} ${folder}/Debug NO_DEFAULT_PATH NO_CACHE REQUIRED)
  run(${ARGN} ${program})
  if(NOT output STREQUAL "42\n")
    message(FATAL_ERROR "The program printed \"${output}\".")
  endif()
endfunction()
