#pragma once

#include <cohort/duration.hpp>

#include <chrono>       // for std::chrono::milliseconds
#include <exception>    // for std::exception_ptr
#include <optional>     // for std::optional
#include <string_view>  // for std::string_view

namespace cohort {

class Semaphore;

/// How a submitted task is run: retries, a limit, a timeout. Use designated initializers: `{.retries = 3, .timeout =
/// 1s}`.
///
/// A task that pauses or waits for a permit holds no worker. The pause after the kth attempt is retry_delay ·
/// backoff^(k-1), at most max_retry_delay, times a random factor in [1 - jitter, 1]. Trivially destructible, so that it
/// may be a temporary in a `co_await` expression with GCC 12.
struct SubmitOptions {
  /// Attempts beyond the first; at least 0. Each gets its own copy of the arguments.
  int retries = 0;
  /// The first pause; at least 0.
  Duration retry_delay = std::chrono::milliseconds(100);
  /// How pauses grow; at least 1.
  double backoff = 2.0;
  /// The longest pause; at least 0.
  Duration max_retry_delay = Duration::max();
  /// How much of a pause is left to chance; from 0 to 1.
  double jitter = 0.0;
  /// Whether to try again after an exception; null: after every one but CancelledError. An exception from it is the
  /// task's.
  bool (*retry_if)(const std::exception_ptr&) = nullptr;
  /// A permit of it is held during each attempt, not during pauses. It must outlive the task.
  Semaphore* semaphore = nullptr;
  /// Per attempt: when it has passed, the attempt is asked to stop, and fails with TimeoutError once it has ended.
  std::optional<Duration> timeout = {};
  /// For diagnostics: in the text of a TimeoutError, and in snapshots, which list the tasks that have one. Copied at the
  /// call.
  std::string_view name = {};
};

namespace detail {

/// *Throws*: `std::invalid_argument` that names the member and its range.
void validate(int retries, Duration retry_delay, double backoff, Duration max_retry_delay, double jitter);

/// The pause after the `attempt`th attempt, from 1.
[[nodiscard]] Duration retry_pause(const SubmitOptions& options, int attempt) noexcept;

/// Whether `retry_if`, or its default, wants another attempt after `error`.
[[nodiscard]] bool wants_retry(const SubmitOptions& options, const std::exception_ptr& error);

}  // namespace detail
}  // namespace cohort
