#pragma once

#include <cohort/detail/callback.hpp>
#include <cohort/errors.hpp>
#include <cohort/thread_pool.hpp>

#include <exception>  // for std::exception_ptr
#include <utility>    // for std::move

namespace cohort::detail {

// What the options of an executor mean for every pool.

inline void check(const ExecutorOptions& options) {
  if (options.max_workers == 0) throw_invalid_argument("max_workers must be at least 1");
  if (options.max_concurrent_tasks == 0) throw_invalid_argument("max_concurrent_tasks must be at least 1");
}

inline void report(const ExecutorOptions& options, std::exception_ptr exception) noexcept {
  try {
    if (options.on_unhandled_exception) {
      options.on_unhandled_exception(std::move(exception));
      return;
    }
  } catch (...) {
    exception = std::current_exception();
  }
  report_to_stderr(exception);
}

}  // namespace cohort::detail
