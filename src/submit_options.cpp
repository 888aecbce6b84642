#include <cohort/detail/sync.hpp>
#include <cohort/errors.hpp>
#include <cohort/submit_options.hpp>

#include <atomic>   // for std::memory_order
#include <cmath>    // for std::pow
#include <cstdint>  // for std::uint64_t

namespace cohort::detail {
namespace {

// A number in [0, 1), good enough to spread retries: the sequence splitmix64, shared by all threads.
double random_fraction() noexcept {
  static sync::atomic<std::uint64_t> sequence{static_cast<std::uint64_t>(sync::now().time_since_epoch().count())};
  std::uint64_t value =
      sequence.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed);  // relaxed: any order will do
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  value ^= value >> 31U;
  return static_cast<double>(value >> 11U) * 0x1p-53;
}

}  // namespace

// Written so that a NaN fails too.
void validate(int retries, Duration retry_delay, double backoff, Duration max_retry_delay, double jitter) {
  if (retries < 0) throw_invalid_argument("retries must be at least 0");
  if (retry_delay < Duration::zero()) throw_invalid_argument("retry_delay must be at least 0");
  if (!(backoff >= 1.0)) throw_invalid_argument("backoff must be at least 1");
  if (max_retry_delay < Duration::zero()) throw_invalid_argument("max_retry_delay must be at least 0");
  if (!(jitter >= 0.0 && jitter <= 1.0)) throw_invalid_argument("jitter must be from 0 to 1");
}

Duration retry_pause(const SubmitOptions& options, int attempt) noexcept {
  if (options.retry_delay == Duration::zero()) return Duration::zero();
  // The power may be infinite; it is compared before it is made a number of ticks.
  const double pause = static_cast<double>(options.retry_delay.count()) * std::pow(options.backoff, attempt - 1);
  const double longest = static_cast<double>(options.max_retry_delay.count());
  const double factor = 1.0 - options.jitter * random_fraction();
  if (pause >= longest && options.jitter == 0.0) return options.max_retry_delay;
  const double chosen = (pause < longest ? pause : longest) * factor;
  if (chosen >= static_cast<double>(Duration::max().count())) return options.max_retry_delay;
  return Duration(static_cast<Duration::rep>(chosen));
}

bool wants_retry(const SubmitOptions& options, const std::exception_ptr& error) {
  if (options.retry_if != nullptr) return options.retry_if(error);
  try {
    std::rethrow_exception(error);
  } catch (const CancelledError&) {
    return false;
  } catch (...) {
    return true;
  }
}

}  // namespace cohort::detail
