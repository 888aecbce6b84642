// Catch2 as the tests use it: the part that 2.13 and 3 have in common. Assertions belong on the main thread, outside
// coroutines that may run on a worker, because Catch2's are not safe to call from several threads.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)  // 3
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#define COHORT_CATCH_VERSION 3
#else  // 2.13
#include <catch2/catch.hpp>
#define COHORT_CATCH_VERSION 2
#endif

#include <string>  // for contains

namespace test {

/// For `REQUIRE_THAT(text, contains("part"))`.
inline auto contains(const std::string& part) {
#if COHORT_CATCH_VERSION == 3
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

}  // namespace test
