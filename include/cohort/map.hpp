#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/as_task.hpp>
#include <cohort/detail/attempts.hpp>
#include <cohort/detail/blocking_iterator.hpp>
#include <cohort/detail/fifo.hpp>
#include <cohort/detail/held_range.hpp>
#include <cohort/detail/submit.hpp>
#include <cohort/duration.hpp>
#include <cohort/semaphore.hpp>
#include <cohort/stop_token.hpp>
#include <cohort/submit_options.hpp>
#include <cohort/task.hpp>

#include <algorithm>    // for std::min
#include <chrono>       // for std::chrono::milliseconds
#include <coroutine>    // for std::coroutine_handle
#include <cstddef>      // for std::size_t
#include <exception>    // for std::exception_ptr
#include <iterator>     // for std::default_sentinel_t
#include <limits>       // for std::numeric_limits
#include <memory>       // for std::unique_ptr, std::shared_ptr
#include <optional>     // for std::optional
#include <tuple>        // for std::tuple
#include <type_traits>  // for std::conditional_t
#include <utility>      // for std::forward
#include <variant>      // for std::variant
#include <vector>       // for std::vector

namespace cohort {

/// How map() runs. Use designated initializers: `MapOptions{.max_concurrency = 8}`. The retry members are those of
/// SubmitOptions.
struct MapOptions {
  int retries = 0;
  Duration retry_delay = std::chrono::milliseconds(100);
  double backoff = 2.0;
  Duration max_retry_delay = Duration::max();
  double jitter = 0.0;
  bool (*retry_if)(const std::exception_ptr&) = nullptr;
  /// How long `next()` waits for a result, each time it is awaited; then it throws TimeoutError, and may be called
  /// again.
  std::optional<Duration> timeout = {};
  /// Calls that run at once, at least 1; with chunks, chunks.
  std::size_t max_concurrency = static_cast<std::size_t>(-1);
  /// Elements taken from the input ahead of the consumer, at least 1. It bounds the memory that a map takes.
  std::size_t buffer_size = 256;
  /// Elements per task, at least 1: more than 1 when a call takes less than a microsecond.
  std::size_t chunk_size = 1;
};

namespace detail {

/// One result of a chunk.
template <class R>
using ChunkItem = std::variant<std::exception_ptr, BranchValue<R>>;
template <class R>
using Chunk = std::vector<ChunkItem<R>>;

/// What has been taken from the input and not been consumed: a call or a chunk of calls.
template <class R>
struct MapPending {
  AsyncFuture<R> call;
  AsyncFuture<Chunk<R>> chunk;
};

/// The input of a map, with the callable and the executor: whatever their types.
template <class R>
class MapSource {
 public:
  MapSource() = default;
  MapSource(const MapSource&) = delete;
  MapSource& operator=(const MapSource&) = delete;
  virtual ~MapSource() = default;

  /// Takes the next elements, at most `limit`, and submits them; adds how many they were to `taken`. False at the end.
  virtual bool submit_next(std::size_t limit, MapPending<R>& pending, std::size_t& taken) = 0;
};

void validate(const MapOptions& options);

template <class Pool, class F, class... Ranges>
auto make_map(Pool& pool, const MapOptions& options, F&& f, Ranges&&... ranges);

}  // namespace detail

/// The results of a map, in input order.
///
///     while (std::optional<R> result = co_await stream.next()) …     // in a coroutine; bool for void results
///     for (R& result : stream) …                                     // elsewhere; blocks
///     std::vector<R> all = co_await std::move(stream);
///
/// An exception of an element is thrown at its place, and the next call goes on with the next element. One from the
/// input itself is thrown at its place too, and is the end. Collecting throws the first exception, and cancels the
/// rest.
///
/// *Throws*: `next()`: TimeoutError when MapOptions::timeout passes; the same element is next.
/// *Cancellation*: `next()` is a cancellation point. Destroying the stream cancels what has not started, asks what runs
/// to stop, and does not wait.
/// *Thread safety*: one thread or coroutine at a time. The input is only read in `map()` and in `next()`.
/// *Lifetime*: input given as an lvalue must outlive the use of the stream. The stream may outlive the executor: what
/// was submitted by then has its results, and the end of the stream is an ExecutorShutdownError if there was more input.
template <class R>
class [[nodiscard]] ResultStream {
 public:
  using value_type = detail::BranchValue<R>;

  /// What awaiting `next()` does. A Task can be made of it.
  class [[nodiscard]] Next {
   public:
    /// A value, or nothing at the end; for void, whether there was one.
    using Value = std::conditional_t<std::is_void_v<R>, bool, std::optional<value_type>>;

    class Awaiter {
     public:
      Awaiter(ResultStream& stream, detail::StateBase* task) noexcept : stream_(&stream), task_(task) {}
      Awaiter(const Awaiter&) = delete;
      Awaiter& operator=(const Awaiter&) = delete;

      [[nodiscard]] bool await_ready() {
        detail::StateBase* const state = stream_->unfinished();
        if (state == nullptr) return true;
        return settled_.emplace(*state, task_, stream_->deadline(), detail::Settled::Cancellable::yes).await_ready();
      }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) { return settled_->await_suspend(handle); }
      Value await_resume() {
        if (settled_.has_value()) settled_->await_resume();
        return stream_->take();
      }

     private:
      ResultStream* stream_;
      detail::StateBase* task_;
      std::optional<detail::Settled::Awaiter> settled_;  // when there is something to wait for
    };

    [[nodiscard]] Awaiter bind(detail::StateBase* task) const noexcept { return Awaiter(*stream_, task); }
    [[nodiscard]] Awaiter operator co_await() const noexcept { return bind(nullptr); }
    operator Task<Value>() const { return detail::await_later<Next>(*this); }  // NOLINT: not explicit

   private:
    friend ResultStream;
    explicit Next(ResultStream& stream) noexcept : stream_(&stream) {}
    ResultStream* stream_;
  };

  ResultStream(ResultStream&& other) noexcept { *this = std::move(other); }
  ResultStream& operator=(ResultStream&& other) noexcept {
    if (this != &other) {
      cancel();
      source_ = std::move(other.source_);
      pending_ = std::exchange(other.pending_, {});
      failed_ = std::exchange(other.failed_, nullptr);
      chunk_sizes_ = std::exchange(other.chunk_sizes_, {});
      chunk_ = std::exchange(other.chunk_, {});
      chunk_index_ = std::exchange(other.chunk_index_, 0);
      ahead_ = std::exchange(other.ahead_, 0);
      buffer_size_ = other.buffer_size_;
      chunk_size_ = other.chunk_size_;
      timeout_ = other.timeout_;
    }
    return *this;
  }
  ~ResultStream() { cancel(); }

  /// `co_await next()`: the next result; nothing at the end and ever after.
  [[nodiscard]] Next next() noexcept { return Next(*this); }

  /// Collects the rest; nothing, for void.
  [[nodiscard]] auto bind(detail::StateBase*) && { return detail::TaskAwaiter<Collected>(collect(std::move(*this))); }
  [[nodiscard]] auto operator co_await() && { return std::move(*this).bind(nullptr); }

  /// An input iteration that blocks, as AsyncFuture::get does.
  [[nodiscard]] auto begin() requires(!std::is_void_v<R>) { return detail::BlockingIterator<ResultStream>(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Result = typename Next::Value;
  using Collected = std::conditional_t<std::is_void_v<R>, void, std::vector<value_type>>;
  friend class detail::BlockingIterator<ResultStream>;
  template <class Pool, class F, class... Ranges>
  friend auto detail::make_map(Pool& pool, const MapOptions& options, F&& f, Ranges&&... ranges);

  ResultStream(std::unique_ptr<detail::MapSource<R>> source, const MapOptions& options)
      : source_(std::move(source)),
        buffer_size_(options.buffer_size),
        chunk_size_(std::min(options.chunk_size, options.buffer_size)),
        timeout_(options.timeout) {}

  static Task<Collected> collect(ResultStream stream) {
    if constexpr (std::is_void_v<R>) {
      for (;;) {
        const bool more = co_await stream.next();
        if (!more) co_return;
      }
    } else {
      std::vector<value_type> values;
      while (std::optional<value_type> value = co_await stream.next()) values.push_back(std::move(*value));
      co_return values;
    }
  }

  [[nodiscard]] Result next_blocking() {
    if (detail::StateBase* state = unfinished()) {
      if (!detail::wait_until_done(*state, deadline())) detail::throw_timeout("the next result is not there yet");
    }
    return take();
  }

  [[nodiscard]] TimePoint deadline() const noexcept {
    return timeout_.has_value() ? detail::deadline_after(*timeout_) : TimePoint::max();
  }

  // What the next result waits for, if anything.
  [[nodiscard]] detail::StateBase* unfinished() {
    if (chunk_index_ < chunk_.size() || pending_.empty()) return nullptr;
    const detail::MapPending<R>& first = pending_.front();
    return first.call.valid() ? &detail::FutureAccess::state(first.call) : &detail::FutureAccess::state(first.chunk);
  }

  // The next result, which is there; throws its exception.
  [[nodiscard]] Result take() {
    if (chunk_index_ == chunk_.size()) {
      if (pending_.empty()) {
        if (failed_ != nullptr) std::rethrow_exception(std::exchange(failed_, nullptr));
        return Result();
      }
      detail::MapPending<R> first = pending_.pop_front();
      if (first.call.valid()) {
        --ahead_;
        refill();
        if constexpr (std::is_void_v<R>) {
          std::move(first.call).get();
          return true;
        } else {
          return std::optional<value_type>(std::in_place, std::move(first.call).get());
        }
      }
      take_chunk(std::move(first.chunk));
    }
    detail::ChunkItem<R> item = std::move(chunk_[chunk_index_++]);
    --ahead_;
    refill();
    if (item.index() == 0) std::rethrow_exception(std::get<0>(std::move(item)));
    if constexpr (std::is_void_v<R>) {
      return true;
    } else {
      return std::optional<value_type>(std::in_place, std::get<1>(std::move(item)));
    }
  }

  void take_chunk(AsyncFuture<detail::Chunk<R>> future) {
    chunk_index_ = 0;
    const std::size_t size = chunk_sizes_.pop_front();
    try {
      chunk_ = std::move(future).get();
    } catch (...) {
      // The chunk as a whole was cancelled, or failed: so has each of its elements.
      try {
        chunk_.clear();
        chunk_.resize(size);
      } catch (...) {
        ahead_ -= size;  // there is no memory to keep them in: they are skipped
        refill();
        throw;
      }
      for (detail::ChunkItem<R>& item : chunk_) item = std::current_exception();
    }
  }

  // Submits as much as the buffer takes. What the input throws, or the executor, comes after all that has been submitted, and
  // is the end.
  void refill() {
    try {
      while (source_ != nullptr && buffer_size_ - ahead_ >= chunk_size_) {
        detail::MapPending<R> next;
        std::size_t taken = 0;
        if (!source_->submit_next(chunk_size_, next, taken)) {
          source_.reset();
          return;
        }
        if (next.chunk.valid()) chunk_sizes_.push_back(taken);
        pending_.push_back(std::move(next));
        ahead_ += taken;
      }
    } catch (...) {
      source_.reset();
      failed_ = std::current_exception();
    }
  }

  void cancel() noexcept {
    // The newest first: what has not started is not to start because what runs has been stopped.
    for (auto each = pending_.end(); each != pending_.begin();) {
      --each;
      if (each->call.valid()) each->call.cancel();
      if (each->chunk.valid()) each->chunk.cancel();
    }
  }

  std::unique_ptr<detail::MapSource<R>> source_;  // null at the end of the input
  detail::Fifo<detail::MapPending<R>> pending_;
  std::exception_ptr failed_;              // what the input ended with
  detail::Fifo<std::size_t> chunk_sizes_;  // of the chunks in pending_
  detail::Chunk<R> chunk_;                 // the chunk being consumed, from chunk_index_ on
  std::size_t chunk_index_ = 0;
  std::size_t ahead_ = 0;  // elements taken and not consumed
  std::size_t buffer_size_ = 0;
  std::size_t chunk_size_ = 0;
  std::optional<Duration> timeout_;
};

namespace detail {

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC 12 warns of each frame that holds something of a type without linkage.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
/// Keeps `kept` until `task` has ended.
template <class T>
Task<T> keep_alive(std::shared_ptr<void> kept, Task<T> task) {
  static_cast<void>(kept);
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
  } else {
    co_return co_await std::move(task);
  }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// Calls a plain function for `element`, right here; `f` is a copy of its own, as in a task of its own.
template <class R, class F, class... Elements>
void append_call(Chunk<R>& results, F f, const std::stop_token& token, std::tuple<Elements...>& element) {
  const auto call = [&](Elements&... each) -> decltype(auto) {
    return call_as<Call<F, Elements...>::form>(f, token, each...);
  };
  if constexpr (std::is_void_v<R>) {
    std::apply(call, element);
    results.emplace_back(std::in_place_index<1>);
  } else {
    results.emplace_back(std::in_place_index<1>, std::apply(call, element));
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC 12 thinks that a lambda written in a coroutine has no linkage, and warns of each frame that holds one.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
/// A task that calls `f` for each of `elements`; what one throws is its own. Asked to stop, it calls no more.
template <class R, class F, class... Elements>
Task<Chunk<R>> call_for_each(SubmitOptions options, F f, std::vector<std::tuple<Elements...>> elements) {
  const std::stop_token token = co_await get_stop_token();
  Chunk<R> results;
  results.reserve(elements.size());
  for (std::tuple<Elements...>& element : elements) {
    std::exception_ptr error;
    try {
      bool called = false;
      if constexpr (is_plain_call<F, Elements...>()) {
        called = just_call(options);
        if (called) append_call<R>(results, f, token, element);
      }
      if (!called) {
        Task<R> call = std::apply(
            [&](Elements&... each) {
              return just_call(options) ? make_task(std::as_const(f), std::move(each)...)
                                        : make_task_with_options(options, std::as_const(f), std::move(each)...);
            },
            element);
        if constexpr (std::is_void_v<R>) {
          co_await std::move(call);
          results.emplace_back(std::in_place_index<1>);
        } else {
          results.emplace_back(std::in_place_index<1>, co_await std::move(call));
        }
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (token.stop_requested()) throw_cancelled("the task was asked to stop");
    if (error != nullptr) results.emplace_back(std::in_place_index<0>, std::move(error));
  }
  co_return results;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

template <class Range>
using ElementOf = std::decay_t<typename HeldRange<Range>::Element>;

template <class R, class Pool, class F, class... Ranges>
class MapSourceOf final : public MapSource<R> {
 public:
  template <class G>
  MapSourceOf(Pool& pool, const MapOptions& options, G&& f, Ranges&&... ranges)
      : pool_(pool),
        f_(std::forward<G>(f)),
        chunked_(options.chunk_size > 1),
        options_{.retries = options.retries,
                 .retry_delay = options.retry_delay,
                 .backoff = options.backoff,
                 .max_retry_delay = options.max_retry_delay,
                 .jitter = options.jitter,
                 .retry_if = options.retry_if},
        ranges_(std::forward<Ranges>(ranges)...),
        positions_(std::apply([](auto&... range) { return Positions(range.begin()...); }, ranges_)) {
    if (options.max_concurrency != static_cast<std::size_t>(-1)) {
      semaphore_ = std::make_shared<Semaphore>(static_cast<std::ptrdiff_t>(
          std::min(options.max_concurrency, static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()))));
    }
  }

  bool submit_next(std::size_t limit, MapPending<R>& pending, std::size_t& taken) override {
    return submit_next(limit, pending, taken, std::index_sequence_for<Ranges...>());
  }

 private:
  using Positions = std::tuple<typename HeldRange<Ranges>::Iterator...>;
  using Elements = std::tuple<ElementOf<Ranges>...>;

  template <std::size_t... Index>
  bool submit_next(std::size_t limit, MapPending<R>& pending, std::size_t& taken, std::index_sequence<Index...>) {
    const auto at_end = [this] { return (std::get<Index>(ranges_).is_end(std::get<Index>(positions_)) || ...); };
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    // The step to the next element is left until that is wanted: a generator may take long for it, or never come to it.
    const auto step = [this] {
      if (std::exchange(step_, false)) (static_cast<void>(++std::get<Index>(positions_)), ...);
    };
    const auto element = [this] {
      step_ = true;
      return Elements(HeldRange<Ranges>::element(std::get<Index>(positions_))...);
    };
    step();
    if (at_end()) return false;
    if (!chunked_) {
      taken = 1;
      pending.call = std::apply([this](auto&&... each) { return this->submit_call(std::move(each)...); }, element());
      return true;
    }
    std::vector<Elements> elements;
    elements.reserve(limit);
    try {
      do {
        elements.push_back(element());
        if (elements.size() == limit) break;
        step();
      } while (!at_end());
    } catch (...) {
      if (elements.empty()) throw;
      error_ = std::current_exception();  // comes after those that were taken before it
    }
    taken = elements.size();
    pending.chunk =
        submit_limited(call_for_each<R, F, ElementOf<Ranges>...>(options_, std::as_const(f_), std::move(elements)));
    return true;
  }

  template <class... Each>
  AsyncFuture<R> submit_call(Each&&... each) {
    if (semaphore_ == nullptr && just_call(options_))
      return submit_to(*pool_, make_call(std::as_const(f_), std::forward<Each>(each)...));
    if (semaphore_ == nullptr)
      return submit_to(*pool_, make_call_with_options(options_, std::as_const(f_), std::forward<Each>(each)...));
    SubmitOptions limited = options_;
    limited.semaphore = semaphore_.get();
    return submit_to(*pool_, keep_alive<R>(semaphore_, make_task_with_options(limited, std::as_const(f_),
                                                                              std::forward<Each>(each)...)));
  }

  AsyncFuture<Chunk<R>> submit_limited(Task<Chunk<R>> task) {
    if (semaphore_ == nullptr) return submit_to(*pool_, std::move(task));
    SubmitOptions limited;
    limited.semaphore = semaphore_.get();
    // The whole chunk is one call that holds one permit.
    return submit_to(*pool_, keep_alive<Chunk<R>>(semaphore_, make_task_with_options(
                                                                  limited, [](Task<Chunk<R>> whole) { return whole; },
                                                                  std::move(task))));
  }

  PoolReference<Pool> pool_;  // the stream may outlive the executor
  F f_;
  bool chunked_;
  SubmitOptions options_;
  std::shared_ptr<Semaphore> semaphore_;  // max_concurrency; the tasks share it
  std::tuple<HeldRange<Ranges>...> ranges_;
  Positions positions_;
  std::exception_ptr error_;  // of the input, in the middle of the last chunk
  bool step_ = false;         // whether the positions are still at elements that have been taken
};

template <class Pool, class F, class... Ranges>
auto make_map(Pool& pool, const MapOptions& options, F&& f, Ranges&&... ranges) {
  using R = typename Call<std::decay_t<F>, ElementOf<Ranges>...>::Result;
  validate(options);
  using Source = MapSourceOf<R, Pool, std::decay_t<F>, Ranges...>;
  ResultStream<R> stream(std::make_unique<Source>(pool, options, std::forward<F>(f), std::forward<Ranges>(ranges)...),
                         options);
  stream.refill();
  return stream;
}

}  // namespace detail
}  // namespace cohort
