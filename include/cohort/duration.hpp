#pragma once

#include <chrono>       // for std::chrono::duration, steady_clock
#include <type_traits>  // for std::is_floating_point_v

namespace cohort {

/// The library's durations: those of the steady clock, the only clock it uses. Nanoseconds, with the usual libraries.
using Duration = std::chrono::steady_clock::duration;

/// The library's points in time.
using TimePoint = std::chrono::steady_clock::time_point;

namespace detail {

/// `duration` as a `Duration`, rounded up so that nothing is early; what does not fit becomes the nearest that does.
template <class Rep, class Period>
[[nodiscard]] constexpr Duration saturate(std::chrono::duration<Rep, Period> duration) noexcept {
  using Source = std::chrono::duration<Rep, Period>;
  if constexpr (std::is_same_v<Source, Duration>) {
    return duration;
  } else {
    // Compared as long double, which has at least the precision of either representation where it matters: at the ends.
    using Wide = std::chrono::duration<long double, Duration::period>;
    const Wide wide = std::chrono::duration_cast<Wide>(
        std::chrono::duration<long double, Period>(static_cast<long double>(duration.count())));
    if (wide.count() != wide.count()) return Duration::zero();  // not a number
    if (wide.count() >= static_cast<long double>(Duration::max().count())) return Duration::max();
    if (wide.count() <= static_cast<long double>(Duration::min().count())) return Duration::min();
    if constexpr (std::is_floating_point_v<Rep>) {
      const auto count = static_cast<Duration::rep>(wide.count());
      return Duration(static_cast<long double>(count) < wide.count() ? count + 1 : count);
    } else {
      return std::chrono::ceil<Duration>(duration);
    }
  }
}

}  // namespace detail
}  // namespace cohort
