#pragma once

#include <cstdint>  // for std::uint8_t

namespace cohort::detail {

/// How a task has ended, if it has.
enum class Outcome : std::uint8_t {
  pending,
  value,      // the result slot holds a value
  exception,  // StateBase::error holds what was thrown
  cancelled,  // StateBase::error holds the CancelledError that ended it, or null when it never started
  moved,      // there was a value, and a handle has taken it
};

}  // namespace cohort::detail
