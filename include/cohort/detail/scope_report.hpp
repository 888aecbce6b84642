#pragma once

#include <cohort/duration.hpp>

#include <array>    // for std::array
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::uint64_t

namespace cohort::detail {

class Scheduler;
class Scope;
struct StateBase;

/// What a suspended coroutine, or a blocked thread, waits for: a description that outlives the wait.
struct WaitsFor {
  enum class Kind : std::uint8_t { something, time, permit, future, futures };

  [[nodiscard]] static WaitsFor future_of(const StateBase& awaited) noexcept;

  Kind kind = Kind::something;
  bool timed = false;               // there is a timeout, too
  TimePoint time = {};              // time: until when
  std::uint64_t sequence_id = 0;    // future: whose
  const Scheduler* home = nullptr;  // future: where that was submitted; null for a promise's. Not to be followed
};

/// What waits in a scope and those under it. Filled in under the locks of the scopes' lists: it never allocates.
struct ScopeReport {
  static constexpr std::size_t most = 4;

  void add(const WaitsFor& wait) noexcept {
    if (wait_count < most) waits[wait_count] = wait;
    ++wait_count;
  }
  void add(const Scope& scope) noexcept {
    if (scope_count < most) scopes[scope_count++] = &scope;
  }
  [[nodiscard]] bool has(const Scope* scope) const noexcept {
    for (std::size_t index = 0; index < scope_count; ++index) {
      if (scopes[index] == scope) return true;
    }
    return false;
  }
  /// It is long enough: nobody reads about thousands.
  [[nodiscard]] bool full() const noexcept { return wait_count >= 64; }

  std::array<WaitsFor, most> waits = {};
  std::size_t wait_count = 0;  // may be more than are kept
  std::array<const Scope*, most> scopes = {};
  std::size_t scope_count = 0;
};

}  // namespace cohort::detail
