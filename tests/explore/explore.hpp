// What a scenario is, and what it can do besides calling the library.
#pragma once

#include <cohort/duration.hpp>

#include <initializer_list>  // for std::initializer_list
#include <string>            // for std::string
#include <vector>            // for std::vector

#include "schedule_point.hpp"

namespace explore {

/// A few threads that meet in the library, and everything that may come of it.
///
/// The function is run once per execution, as thread 0. Threads that it starts, as `cohort::detail::sync::jthread`, and
/// those of the executors that it makes, take turns with it as the strategy decides. It checks what must hold, and
/// returns which of the outcomes it was: any other is a failure, and so is one that never comes. Afterwards every
/// thread must have come to its end, and nothing allocated may be left.
class Scenario {
 public:
  Scenario(const char* id, const char* title, std::initializer_list<const char*> outcomes, const char* (*run)());

  std::string id;  // "S9", "S9-task"
  std::string title;
  std::vector<std::string> outcomes;
  const char* (*run)();

  [[nodiscard]] static const std::vector<const Scenario*>& all();
};

/// Fails unless `holds`.
inline void check(bool holds, const char* what) noexcept {
  if (!holds) fail(what);
}

/// The way to where threads meet, without choices: from here to end(), which lets the others run until all of them wait,
/// each thread runs for as long as it can. The dice decide whether it is so or not in this execution, so that what
/// happens on the way is explored, too.
class Calm {
 public:
  Calm() noexcept;
  Calm(const Calm&) = delete;
  Calm& operator=(const Calm&) = delete;
  ~Calm() = default;
  void end(Where where = Where::current()) noexcept;
};

/// From here on no thread can be started in this execution: std::system_error.
void refuse_threads() noexcept;

/// Puts the clock forward, so that timed waits and timers may meet what the other threads do.
void advance(cohort::Duration duration, Where where = Where::current()) noexcept;

}  // namespace explore
