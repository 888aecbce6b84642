# What cohort's own code is compiled with when cohort is the project being built: warnings, and the sanitizers of
# COHORT_SANITIZE. In a project that contains cohort this does nothing, and no flag ever reaches a user of the library.

if(NOT COHORT_SANITIZE MATCHES "^(address|thread|)$")
  message(FATAL_ERROR "COHORT_SANITIZE is \"${COHORT_SANITIZE}\": it must be address, thread, or empty.")
endif()

function(cohort_development_options target)
  if(NOT PROJECT_IS_TOP_LEVEL)
    return()
  endif()

  if(MSVC)
    target_compile_options(${target} PRIVATE /W4 $<$<BOOL:${COHORT_WARNINGS_AS_ERRORS}>:/WX>)
    return()
  endif()

  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion $<$<BOOL:${COHORT_WARNINGS_AS_ERRORS}>:-Werror>
  )

  set(level -O0)  # at -O1 it takes twice as long to compile, and finds the same
  if(COHORT_SANITIZE STREQUAL "address")
    set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      # Clang 14 cannot place what this check needs beside a coroutine: "cannot represent a difference across sections".
      list(APPEND sanitize -fno-sanitize=function)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      list(APPEND sanitize -Wno-maybe-uninitialized)  # false alarms, in the standard library's own headers, too
    endif()
    target_compile_definitions(${target} PRIVATE _GLIBCXX_ASSERTIONS)
  elseif(COHORT_SANITIZE STREQUAL "thread")
    set(sanitize -fsanitize=thread)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      set(level -O1)  # takes no longer
    endif()
  else()
    return()
  endif()
  # These come after the flags of the build type and so win over them. Lines are all that a stack trace needs: -g1.
  target_compile_options(${target} PRIVATE ${sanitize} ${level} -g1 -fno-omit-frame-pointer)
  target_link_options(${target} PRIVATE ${sanitize})
endfunction()

# Eight files of the target are compiled as one: most of the time goes into reading the same headers.
function(cohort_unity_build target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC takes the files for headers, and warns of what a header should not do.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()
