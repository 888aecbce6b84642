# Makes a test of every program in a Markdown page. A program is a ```cpp block with "int main(" in it. If the next block
# is ```text or ```console and nothing stands between the two but the line "Output:" or "<!-- output -->", then that block
# is what the program must print.

# The text before the first occurrence of `separator`, and the text after it. Plain string functions throughout:
# brackets and semicolons, of which C++ has many, would break CMake's lists.
function(_cohort_split text separator before after found)
  string(FIND "${text}" "${separator}" position)
  if(position EQUAL -1)
    set(${found} FALSE PARENT_SCOPE)
    return()
  endif()
  string(LENGTH "${separator}" length)
  string(SUBSTRING "${text}" 0 ${position} head)
  math(EXPR position "${position} + ${length}")
  string(SUBSTRING "${text}" ${position} -1 tail)
  set(${before} "${head}" PARENT_SCOPE)
  set(${after} "${tail}" PARENT_SCOPE)
  set(${found} TRUE PARENT_SCOPE)
endfunction()

function(_cohort_count_lines text result)
  string(REGEX REPLACE "[^\n]" "" newlines "${text}")
  string(LENGTH "${newlines}" count)
  set(${result} ${count} PARENT_SCOPE)
endfunction()

function(cohort_add_markdown_tests page)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  file(RELATIVE_PATH page_name ${PROJECT_SOURCE_DIR} ${page})
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" target_prefix "doc_${page_name}")

  file(READ ${page} rest)
  set(rest "\n${rest}")
  set(line 0)  # how many lines of the page lie before `rest`
  set(number 0)
  while(TRUE)
    _cohort_split("${rest}" "\n```cpp\n" before rest found)
    if(NOT found)
      break()
    endif()
    _cohort_count_lines("${before}" lines)
    math(EXPR line "${line} + ${lines} + 1")
    set(first_line ${line})
    _cohort_split("${rest}" "\n```" code rest found)
    if(NOT found)
      message(FATAL_ERROR "${page_name}: the block that begins in line ${first_line} has no end.")
    endif()
    _cohort_count_lines("${code}" lines)
    math(EXPR line "${line} + ${lines} + 1")
    if(NOT code MATCHES "int main\\(")
      continue()
    endif()

    # #line makes the compiler's messages point into the page.
    math(EXPR number "${number} + 1")
    math(EXPR code_line "${first_line} + 1")
    set(target ${target_prefix}_${number})
    set(source ${CMAKE_CURRENT_BINARY_DIR}/docs/${target}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#line @code_line@ \"@page@\"\n@code@\n" @ONLY)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE cohort::cohort)
    cohort_development_options(${target})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # Because of #line, GCC takes the program for a header and warns of what a header should not do.
      target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
    endif()

    set(expected "")
    _cohort_split("${rest}" "\n```" between after found)
    if(found AND between MATCHES "^[ \t\n]*(Output:|<!-- output -->)[ \t\n]*$" AND after MATCHES "^(text|console)\n")
      string(REGEX REPLACE "^[a-z]+\n" "" after "${after}")
      _cohort_split("\n${after}" "\n```" output after found)
      string(SUBSTRING "${output}" 1 -1 output)
      set(expected ${CMAKE_CURRENT_BINARY_DIR}/docs/${target}.txt)
      file(CONFIGURE OUTPUT ${expected} CONTENT "@output@\n" @ONLY)
    endif()

    set(test_name "docs: ${page_name}, program ${number}")
    add_test(
      NAME ${test_name} COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:${target}> -D EXPECTED=${expected} -P
                                ${PROJECT_SOURCE_DIR}/cmake/run_program.cmake
    )
    set_tests_properties(${test_name} PROPERTIES LABELS docs TIMEOUT ${timeout})
  endwhile()
endfunction()
