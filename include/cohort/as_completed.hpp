#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/as_task.hpp>
#include <cohort/detail/blocking_iterator.hpp>
#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/future_range.hpp>
#include <cohort/duration.hpp>
#include <cohort/task.hpp>

#include <chrono>    // for std::chrono::duration
#include <optional>  // for std::optional
#include <vector>    // for std::vector

namespace cohort {

namespace detail {
[[noreturn]] void throw_unfinished(std::size_t unfinished, std::size_t total);
}

/// Futures in the order in which they are done.
///
///     while (std::optional<AsyncFuture<int>> future = co_await stream.next()) …     // in a coroutine
///     for (AsyncFuture<int>& future : stream) …                                     // elsewhere; blocks
///     std::vector<AsyncFuture<int>> all = co_await std::move(stream);
///
/// What a future holds, a value or an exception, is not looked at.
///
/// *Throws*: after the deadline `next()` throws TimeoutError, once it has given out what was done, each time it is
/// called.
/// *Cancellation*: `next()` is a cancellation point. Destroying the stream cancels those of its futures that have not
/// started, asks those that run to stop, and does not wait.
/// *Thread safety*: one thread or coroutine at a time.
/// *Lifetime*: independent of the executor and of the futures it was made from.
/// *Complexity*: O(1) per future.
template <class T>
class [[nodiscard]] CompletionStream {
 public:
  using value_type = AsyncFuture<T>;

  /// What awaiting `next()` does. A Task can be made of it.
  class [[nodiscard]] Next {
   public:
    using Value = std::optional<AsyncFuture<T>>;

    class Awaiter : public detail::CompletionSet::Ready::Awaiter {
     public:
      Awaiter(CompletionStream& stream, detail::StateBase* task) noexcept
          : Base(stream.set_.get(), 1, stream.deadline_, task), stream_(&stream) {}
      [[nodiscard]] bool await_ready() const noexcept { return stream_->exhausted() || Base::await_ready(); }
      Value await_resume() {
        if (stream_->exhausted()) return std::nullopt;
        return stream_->take(Base::await_resume());
      }

     private:
      using Base = detail::CompletionSet::Ready::Awaiter;
      CompletionStream* stream_;
    };

    [[nodiscard]] Awaiter bind(detail::StateBase* task) const noexcept { return Awaiter(*stream_, task); }
    [[nodiscard]] Awaiter operator co_await() const noexcept { return bind(nullptr); }
    operator Task<Value>() const { return detail::await_later<Next>(*this); }  // NOLINT: not explicit

   private:
    friend CompletionStream;
    explicit Next(CompletionStream& stream) noexcept : stream_(&stream) {}
    CompletionStream* stream_;
  };

  /// `co_await next()`: the next future to be done, in an optional; nothing at the end and ever after.
  [[nodiscard]] Next next() noexcept { return Next(*this); }

  /// Collects the rest.
  [[nodiscard]] auto bind(detail::StateBase*) && {
    return detail::TaskAwaiter<std::vector<AsyncFuture<T>>>(collect(std::move(*this)));
  }
  [[nodiscard]] auto operator co_await() && { return std::move(*this).bind(nullptr); }

  /// An input iteration that blocks, as AsyncFuture::get does.
  [[nodiscard]] auto begin() { return detail::BlockingIterator<CompletionStream>(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  template <detail::FutureRange Futures>
  friend CompletionStream<detail::FutureValue<Futures>> as_completed(Futures&& futures);
  template <detail::FutureRange Futures, class Rep, class Period>
  friend CompletionStream<detail::FutureValue<Futures>> as_completed(Futures&& futures,
                                                                     std::chrono::duration<Rep, Period> timeout);
  friend class detail::BlockingIterator<CompletionStream>;

  CompletionStream(detail::Handles handles, TimePoint deadline)
      : set_(detail::CompletionSet::create(std::move(handles)), {.cancels = true}), deadline_(deadline) {}

  static Task<std::vector<AsyncFuture<T>>> collect(CompletionStream stream) {
    std::vector<AsyncFuture<T>> futures;
    while (std::optional<AsyncFuture<T>> future = co_await stream.next()) futures.push_back(std::move(*future));
    co_return futures;
  }

  [[nodiscard]] std::optional<AsyncFuture<T>> next_blocking() {
    if (exhausted()) return std::nullopt;
    return take(set_->wait_blocking(1, deadline_));
  }

  [[nodiscard]] bool exhausted() const noexcept { return set_ == nullptr || set_->exhausted(); }

  [[nodiscard]] std::optional<AsyncFuture<T>> take(bool ready) {
    if (!ready && !set_->has_done()) detail::throw_unfinished(set_->unfinished(), set_->size());
    return detail::FutureAccess::adopt<T>(*set_->take());
  }

  detail::CompletionSetOwner set_;
  TimePoint deadline_;
};

/// Gives each distinct future of a range once: those done already first, in their order, then the others as they are
/// done. It has handles of its own; those of an rvalue container are taken.
///
/// *Throws*: `std::future_error(no_state)` for a future that is not valid; `std::bad_alloc`.
template <detail::FutureRange Futures>
[[nodiscard]] CompletionStream<detail::FutureValue<Futures>> as_completed(Futures&& futures) {
  return {detail::handles_of(std::forward<Futures>(futures)), TimePoint::max()};
}

/// The same with one deadline for all, `timeout` from the call: then `next()` throws TimeoutError ("2 (of 4) futures
/// unfinished").
template <detail::FutureRange Futures, class Rep, class Period>
[[nodiscard]] CompletionStream<detail::FutureValue<Futures>> as_completed(Futures&& futures,
                                                                          std::chrono::duration<Rep, Period> timeout) {
  const TimePoint deadline = detail::deadline_after(detail::saturate(timeout));
  return {detail::handles_of(std::forward<Futures>(futures)), deadline};
}

}  // namespace cohort
