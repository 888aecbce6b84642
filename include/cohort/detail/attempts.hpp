#pragma once

#include <cohort/detail/copyable.hpp>
#include <cohort/detail/latch.hpp>
#include <cohort/detail/plain_call.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/sleep.hpp>
#include <cohort/submit_options.hpp>
#include <cohort/task.hpp>

#include <exception>    // for std::exception_ptr
#include <string>       // for std::string
#include <type_traits>  // for std::is_copy_constructible_v

namespace cohort::detail {

/// A child with a scope of its own, which is asked to stop when its parent is, or when its time is over. The part that
/// does not depend on the child's type.
class ScopedChild : Latch {
 public:
  ScopedChild(const ScopedChild&) = delete;
  ScopedChild& operator=(const ScopedChild&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  COHORT_SUSPEND_OUT_OF_LINE std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) {
    return start(handle);
  }

 protected:
  ScopedChild(StateBase& child, StateBase& parent, TimePoint deadline) noexcept
      : child_(&child), parent_task_(&parent), stop_(*this, deadline) {}
  ~ScopedChild() = default;

  /// Whether its time was over before it was; after it has ended.
  [[nodiscard]] bool timed_out() const noexcept {
    return timed_out_.load(std::memory_order_relaxed);
  }  // relaxed: it has ended

  StateBase* child_;

 private:
  // What stops the child: its parent's scope, or time.
  struct Stop : Timer {
    Stop(ScopedChild& stopped, TimePoint deadline) noexcept : Timer(deadline), owner(&stopped) {}
    ScopedChild* owner;
  };

  std::coroutine_handle<> start(std::coroutine_handle<> handle);
  static std::size_t ended(Latch& latch) noexcept;
  void stop_child() noexcept;
  void time_out() noexcept;
  [[nodiscard]] bool timed() const noexcept { return stop_.time != TimePoint::max(); }

  StateBase* parent_task_;
  Stop stop_;
  sync::atomic<bool> timed_out_{false};
};

/// Waits for the permit of a task's first attempt: until then, a shutdown may cancel the task as one that has not started.
class [[nodiscard]] FirstPermit {
 public:
  class Awaiter : public Semaphore::Awaiter, Unbegun {
   public:
    Awaiter(Semaphore& semaphore, StateBase& task) noexcept : Semaphore::Awaiter(semaphore, &task), task_(&task) {}
    ~Awaiter() {
      if (registered_) task_->scheduler->remove_unbegun(*this);
    }
    COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) noexcept {
      if (task_->scheduler != nullptr && task_->scope != nullptr) {
        registered_ = true;
        scope = task_->scope;
        task_->scheduler->add_unbegun(*this);
      }
      return Semaphore::Awaiter::await_suspend(handle);
    }

   private:
    StateBase* task_;
    bool registered_ = false;
  };

  explicit FirstPermit(Semaphore& semaphore) noexcept : semaphore_(&semaphore) {}
  [[nodiscard]] Awaiter bind(StateBase* task) const noexcept { return Awaiter(*semaphore_, *task); }

 private:
  Semaphore* semaphore_;
};

/// Awaits a task for at most `timeout`, if there is one: then it is asked to stop, and fails with TimeoutError once it
/// has ended.
template <class T>
class [[nodiscard]] WithTimeout {
 public:
  class Awaiter : public ScopedChild {
   public:
    Awaiter(StateBase& child, StateBase& parent, TimePoint deadline, const std::string& name) noexcept
        : ScopedChild(child, parent, deadline), name_(&name) {}
    T await_resume() {
      if (timed_out())
        throw TimeoutError(name_->empty() ? "the attempt timed out" : "the attempt of \"" + *name_ + "\" timed out");
      return take_result<T>(*child_);
    }

   private:
    const std::string* name_;
  };

  WithTimeout(Task<T>&& task, Duration timeout, const std::string& name) noexcept
      : task_(std::move(task)), timeout_(timeout), name_(&name) {}
  [[nodiscard]] Awaiter bind(StateBase* parent) && noexcept {
    return Awaiter(*TaskAccess::state(task_), *parent, deadline_after(timeout_), *name_);
  }

 private:
  Task<T> task_;
  Duration timeout_;
  const std::string* name_;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC 12 thinks that a lambda written in a coroutine has no linkage, and warns of each frame that holds one.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
/// A task that calls `f(args...)` until an attempt succeeds or there are no more: SubmitOptions in action.
template <class F, class... Args>
Task<typename Call<F, Args...>::Result> call_with_options(SubmitOptions options, std::string name, F f, Args... args) {
  using Result = typename Call<F, Args...>::Result;
  for (int attempt = 1;; ++attempt) {
    std::exception_ptr error;
    {
      Permit permit;
      if (options.semaphore != nullptr && attempt == 1) permit = co_await FirstPermit(*options.semaphore);
      if (options.semaphore != nullptr && attempt > 1) permit = co_await options.semaphore->acquire();
      try {
        // Each attempt has arguments of its own; the last may have the originals.
        const auto make_attempt = [&] {
          if constexpr ((copyable<Args> && ...)) {
            if (attempt <= options.retries) return call_later<F&, Args...>(f, Args(args)...);
          }
          return call_later<F&, Args...>(f, std::move(args)...);
        };
        Task<Result> task = make_attempt();
        if constexpr (std::is_void_v<Result>) {
          if (options.timeout.has_value()) {
            co_await WithTimeout<Result>(std::move(task), *options.timeout, name);
          } else {
            co_await std::move(task);
          }
          co_return;
        } else {
          if (options.timeout.has_value())
            co_return co_await WithTimeout<Result>(std::move(task), *options.timeout, name);
          co_return co_await std::move(task);
        }
      } catch (...) {
        error = std::current_exception();
      }
    }
    const bool again = attempt <= options.retries && wants_retry(options, error);
    if (!again) std::rethrow_exception(std::move(error));
    error = nullptr;
    co_await sleep_for(retry_pause(options, attempt));
  }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// The same as make_task_keeping(), with options. *Throws*: `std::invalid_argument`.
template <class... Kept, class F, class... Args>
[[nodiscard]] auto make_task_with_options_keeping(TypeList<Kept...>, const SubmitOptions& options, F&& f,
                                                  Args&&... args) {
  validate(options.retries, options.retry_delay, options.backoff, options.max_retry_delay, options.jitter);
  if constexpr (!(copyable<Kept> && ...)) {
    if (options.retries > 0) throw_invalid_argument("retries must be 0 when an argument cannot be copied");
  }
  return call_with_options<std::decay_t<F>, Kept...>(options, std::string(options.name), std::forward<F>(f),
                                                     std::forward<Args>(args)...);
}
template <class F, class... Args>
[[nodiscard]] auto make_task_with_options(const SubmitOptions& options, F&& f, Args&&... args) {
  return make_task_with_options_keeping(StoredArguments<F, Args...>(), options, std::forward<F>(f),
                                        std::forward<Args>(args)...);
}

/// Whether these options ask for one call, and no more than that.
[[nodiscard]] inline bool just_call(const SubmitOptions& options) noexcept {
  return options.retries == 0 && options.semaphore == nullptr && !options.timeout.has_value();
}

/// The same as make_call_keeping(), with options. *Throws*: `std::invalid_argument`.
template <class... Kept, class F, class... Args>
[[nodiscard]] auto make_call_with_options_keeping(TypeList<Kept...> kept, const SubmitOptions& options, F&& f,
                                                  Args&&... args) {
  using Result = typename Call<std::decay_t<F>, Kept...>::Result;
  if (!just_call(options)) {
    return Submission<Result>(
        make_task_with_options_keeping(kept, options, std::forward<F>(f), std::forward<Args>(args)...));
  }
  validate(options.retries, options.retry_delay, options.backoff, options.max_retry_delay, options.jitter);
  return make_call_keeping(kept, std::forward<F>(f), std::forward<Args>(args)...);
}
template <class F, class... Args>
[[nodiscard]] auto make_call_with_options(const SubmitOptions& options, F&& f, Args&&... args) {
  return make_call_with_options_keeping(StoredArguments<F, Args...>(), options, std::forward<F>(f),
                                        std::forward<Args>(args)...);
}

}  // namespace cohort::detail
