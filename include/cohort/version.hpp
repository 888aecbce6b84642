#pragma once

/// @file
/// The one place where cohort's version is written: the build, the package and pkg-config read it from here.

#define COHORT_VERSION_MAJOR 0
#define COHORT_VERSION_MINOR 1
#define COHORT_VERSION_PATCH 0

/// One number to compare: 1'00'00 is 1.0.0.
#define COHORT_VERSION (COHORT_VERSION_MAJOR * 10000 + COHORT_VERSION_MINOR * 100 + COHORT_VERSION_PATCH)

namespace cohort {

/// The version of the headers in use.
inline constexpr struct Version {
  int major;
  int minor;
  int patch;
} version{COHORT_VERSION_MAJOR, COHORT_VERSION_MINOR, COHORT_VERSION_PATCH};

}  // namespace cohort
