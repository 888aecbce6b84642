# Included by a project before and after it adds cohort: what cohort may not change is remembered, then compared.

set(watched_variables
    BUILD_TESTING
    BUILD_SHARED_LIBS
    CMAKE_BUILD_TYPE
    CMAKE_CXX_EXTENSIONS
    CMAKE_CXX_FLAGS
    CMAKE_CXX_SCAN_FOR_MODULES
    CMAKE_CXX_STANDARD
    CMAKE_EXE_LINKER_FLAGS
    CMAKE_MODULE_PATH
    CMAKE_POSITION_INDEPENDENT_CODE
)
set(watched_properties COMPILE_DEFINITIONS COMPILE_OPTIONS INCLUDE_DIRECTORIES LINK_OPTIONS)

macro(remember_everything)
  foreach(variable IN LISTS watched_variables)
    set(before_${variable} "${${variable}}")
  endforeach()
  foreach(property IN LISTS watched_properties)
    get_directory_property(before_${property} ${property})
  endforeach()
  get_cmake_property(before_cache CACHE_VARIABLES)
endmacro()

function(expect_nothing_leaked cohort_source)
  foreach(variable IN LISTS watched_variables)
    if(NOT "${${variable}}" STREQUAL "${before_${variable}}")
      message(SEND_ERROR "${variable} was \"${before_${variable}}\" and is \"${${variable}}\".")
    endif()
  endforeach()
  foreach(property IN LISTS watched_properties)
    get_directory_property(now ${property})
    if(NOT "${now}" STREQUAL "${before_${property}}")
      message(SEND_ERROR "The directory's ${property} was \"${before_${property}}\" and is \"${now}\".")
    endif()
  endforeach()

  # In the cache: options with cohort's name, and what CMake's own modules write there.
  get_cmake_property(now CACHE_VARIABLES)
  list(REMOVE_ITEM now ${before_cache})
  list(FILTER now EXCLUDE REGEX "^(COHORT_|cohort_|FETCHCONTENT_|FIND_PACKAGE_MESSAGE_DETAILS_Threads|CMAKE_HAVE_|CMAKE_PROJECT_VERSION)")
  if(now)
    message(SEND_ERROR "New in the cache: ${now}")
  endif()

  get_property(targets DIRECTORY ${cohort_source} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(tests DIRECTORY ${cohort_source} PROPERTY TESTS)
  get_property(folders DIRECTORY ${cohort_source} PROPERTY SUBDIRECTORIES)
  if(NOT "${targets}" STREQUAL "cohort" OR tests OR folders)
    message(SEND_ERROR "cohort added more than its library: targets ${targets}; tests ${tests}; folders ${folders}")
  endif()
endfunction()
