#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/errors.hpp>
#include <cohort/submit_options.hpp>

#include <cmath>  // for std::pow

namespace cohort::detail {

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
  Scheduler* const scheduler = thread_context().scheduler;  // there is one: the pause is a sleep
  const double factor = 1.0 - options.jitter * (scheduler != nullptr ? scheduler->random_fraction() : 0.0);
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
