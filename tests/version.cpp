#include <cohort/version.hpp>

#include "catch.hpp"

#include <type_traits>

TEST_CASE("the version is there for the preprocessor and for the compiler", "[version]") {
  STATIC_REQUIRE(cohort::version.major == COHORT_VERSION_MAJOR);
  STATIC_REQUIRE(cohort::version.minor == COHORT_VERSION_MINOR);
  STATIC_REQUIRE(cohort::version.patch == COHORT_VERSION_PATCH);
  STATIC_REQUIRE(COHORT_VERSION == cohort::version.major * 10000 + cohort::version.minor * 100 + cohort::version.patch);
}

TEST_CASE("the version can be compared by the preprocessor", "[version]") {
#if COHORT_VERSION >= 100 && COHORT_VERSION < 10000
  const bool between_0_1_and_1_0 = true;
#else
  const bool between_0_1_and_1_0 = false;
#endif
  REQUIRE(between_0_1_and_1_0 == (COHORT_VERSION_MAJOR == 0 && COHORT_VERSION_MINOR >= 1));
}
