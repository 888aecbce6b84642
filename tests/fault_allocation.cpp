// Every allocation fails once: each scenario is run again and again, the first allocation failing, then the second, and
// so on. What is asked may succeed, or fail with bad_alloc; nothing may hang, be lost, leak or end the program. And what
// completes, wakes, cancels and shuts down allocates nothing at all.
#include "../src/frame_slabs.hpp"

#include "adaptor_support.hpp"
#include "catch.hpp"
#include "fault_support.hpp"

#include <cohort/cohort.hpp>

#include <array>     // for array
#include <atomic>    // for atomic
#include <cstddef>   // for size_t
#include <memory>    // for make_shared
#include <optional>  // for optional
#include <string>    // for string
#include <utility>   // for move
#include <vector>    // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;
using test::fault::DenyAllocation;
using test::fault::Stage;

// ---- Frames --------------------------------------------------------------------------------------------------------

// The library keeps the blocks of frames for later, so that few of them come from operator new. Here all do: these
// take the place of the library's own, with a cache that has room for nothing.
namespace cohort::detail {

namespace {
std::atomic<std::ptrdiff_t> frames{0};
}

#if defined(__clang__) && __clang_major__ < 17
FrameCache& frame_cache() noexcept {
  static constinit thread_local FrameCache cache{};
  return cache;
}
#else
constinit thread_local FrameCache this_thread_frame_cache{};
#endif

void* allocate_frame_slowly(std::size_t size) {
  void* const block = ::operator new(size);
  ++frames;
  return block;
}
void free_frame_slowly(void* block, std::size_t) noexcept {
  --frames;
  ::operator delete(block);
}
void pool_begins() {}
void pool_ended() noexcept {}
std::ptrdiff_t live_frames() noexcept { return frames; }

}  // namespace cohort::detail

namespace {

// ---- The scenarios -------------------------------------------------------------------------------------------------

int answer() { return 42; }
Task<int> later(int x) {
  co_await cohort::yield();
  co_return x;
}
Task<int> sum_of_children(int depth) {
  if (depth == 0) co_return 1;
  const int one = co_await sum_of_children(depth - 1);
  const int other = co_await later(1);
  co_return one + other;
}
std::string concatenate(const std::string& a, const std::string& b) { return a + b; }

/// An executor that still does what it is told when the failures are over.
class Survivor {
 public:
  Survivor(Stage& stage, std::size_t workers = 2) : stage_(stage), executor_(Stage::options(workers)) {}
  Survivor(const Survivor&) = delete;
  Survivor& operator=(const Survivor&) = delete;
  ~Survivor() {
    fault::disarm();
    try {
      stage_.check(executor_.submit(answer).get() == 42, "a trivial task gave something else");
      executor_.shutdown();
      const ExecutorStats stats = executor_.stats();
      stage_.check(stats.succeeded + stats.failed + stats.cancelled == stats.submitted, "the books do not balance");
    } catch (...) {
      stage_.complain("a trivial task could not be submitted afterwards");
    }
  }
  AsyncExecutor& operator*() { return executor_; }
  AsyncExecutor* operator->() { return &executor_; }

 private:
  Stage& stage_;
  AsyncExecutor executor_;
};

struct Scenario {
  const char* name;
  void (*run)(Stage& stage);
};

const Scenario scenarios[] = {
    {"an executor is made",
     [](Stage& stage) {
       stage.fail_in([&] {
         AsyncExecutor executor(Stage::options(3));
         stage.settle(executor.submit(answer));
       });
       AsyncExecutor again(Stage::options(3));
       stage.check(again.submit(answer).get() == 42, "an executor made afterwards does not work");
     }},
    {"functions are submitted",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] { stage.settle(executor->submit(answer)); });
       stage.fail_in([&] {
         stage.settle(executor->submit(concatenate, "something too long to be kept in place, ", std::string(50, 'x')));
       });
       stage.fail_in([&] {
         auto future = executor->submit([text = std::string(60, 'y')] { return text; });
         stage.settle(future);
       });
       stage.fail_in([&] { stage.settle(executor->submit([&executor] { return executor->submit(answer); })); });
     }},
    {"coroutines are submitted",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] { stage.settle(executor->submit(later, 3)); });
       stage.fail_in([&] { stage.settle(executor->submit(later(3))); });
       stage.fail_in([&] { stage.settle(executor->submit(sum_of_children, 5)); });
       stage.fail_in([&] {
         auto body = [text = std::string(60, 'y')](std::string more) -> Task<std::string> {
           co_await cohort::yield();
           co_return text + more;
         };
         stage.settle(executor->submit(body, std::string(40, 'z')));
       });
     }},
    {"many tasks are submitted from outside and from a worker",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto submitter = [&]() -> Task<> {
           std::vector<AsyncFuture<int>> children;
           for (int i = 0; i < 300; ++i) children.push_back(executor->submit(answer));  // more than a deque begins with
           for (AsyncFuture<int>& child : children) {
             const int value = co_await std::move(child);
             static_cast<void>(value);
           }
         };
         stage.settle(executor->submit(submitter));
       });
     }},
    {"options",
     [](Stage& stage) {
       Semaphore semaphore(1);
       std::atomic<int> attempts{0};
       Survivor executor(stage);
       stage.fail_in([&] {
         auto flaky = [&](const std::string& text) {
           if (++attempts % 3 != 0) throw std::runtime_error("once more");
           return text;
         };
         const SubmitOptions options{.retries = 4,
                                     .retry_delay = 0s,
                                     .semaphore = &semaphore,
                                     .timeout = 10s,
                                     .name = "a name that is too long to be kept in place"};
         AsyncFuture<std::string> one;
         AsyncFuture<int> other;
         stage.attempt([&] { one = executor->submit(options, flaky, std::string(50, 'x')); });
         stage.attempt([&] { other = executor->submit(options, later, 7); });
         if (one.valid()) stage.settle<std::runtime_error>(one);
         if (other.valid()) stage.settle(other);
       });
       stage.check(semaphore.try_acquire(), "the permit did not come back");
     }},
    {"an attempt that takes too long",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto sleeper = []() -> Task<> { co_await sleep_for(10s); };
         stage.settle<TimeoutError, CancelledError>(
             executor->submit(SubmitOptions{.timeout = 1ms, .name = "the name of a task that is late"}, sleeper));
       });
     }},
    {"a future is awaited",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto body = [&]() -> Task<int> {
           AsyncFuture<int> kept = executor->submit(later, 1);
           const int value = co_await kept;
           const int moved = co_await executor->submit(later, 2);
           const int timed = co_await kept.result(10s);
           co_return value + moved + timed;
         };
         stage.settle(executor->submit(body));
       });
     }},
    {"a future is waited for with a timeout",
     [](Stage& stage) {
       AsyncPromise<int> never;
       Survivor executor(stage);
       stage.fail_in([&] {
         const AsyncFuture<int> future = never.get_future();
         auto body = [&]() -> Task<> { static_cast<void>(co_await future.result(1ms)); };
         stage.settle<TimeoutError>(executor->submit(body));
         stage.attempt<TimeoutError>([&] { return future.get(1ms); });
         stage.check(!future.wait_for(0s), "a promise that nobody kept is done");
       });
     }},
    {"a worker blocks in get",
     [](Stage& stage) {
       Survivor executor(stage, 1);
       stage.fail_in([&] {
         auto inner = [&] { return executor->submit(later, 1).get() + executor->submit(answer).get(); };
         auto outer = [&, inner] { return executor->submit(inner).get(); };
         auto one = executor->submit(outer);
         auto other = executor->submit(outer);
         stage.settle(one);
         stage.settle(other);
       });
     }},
    {"a worker blocks in get for what another task brings about",
     [](Stage& stage) {
       AsyncPromise<int> promise;
       Survivor executor(stage, 1);
       stage.fail_in([&] {
         auto waiter = [future = promise.get_future()] { return future.get(); };
         auto setter = [&] { promise.set_result(1); };
         auto waiting = executor->submit(waiter);
         bool submitted = false;
         stage.attempt([&] {
           auto setting = executor->submit(setter);
           submitted = true;
           stage.settle(setting);
         });
         if (!submitted) promise.set_result(2);
         stage.settle(waiting);
       });
     }},
    {"map",
     [](Stage& stage) {
       const std::vector<int> input(20, 1);
       Survivor executor(stage);
       stage.fail_in([&] {
         int sum = 0;
         for (const int value : executor->map(MapOptions{.buffer_size = 4}, later, input)) sum += value;
         stage.check(sum == 20 || fault::failed != 0, "map lost an element");
       });
       stage.fail_in([&] {
         auto body = [&]() -> Task<int> {
           ResultStream<int> stream =
               executor->map(MapOptions{.retries = 1, .retry_delay = 0s, .max_concurrency = 2}, later, input);
           int sum = 0;
           while (std::optional<int> value = co_await stream.next()) sum += *value;
           co_return sum;
         };
         stage.settle(executor->submit(body));
       });
       stage.fail_in([&] {
         auto body = [&]() -> Task<std::size_t> {
           auto stream = executor->map(MapOptions{.buffer_size = 8, .chunk_size = 3}, later, input);
           std::vector<int> all = co_await std::move(stream);
           co_return all.size();
         };
         stage.settle(executor->submit(body));
       });
       stage.fail_in([&] {
         auto text = [](const std::string& a, int b) { return a + std::to_string(b); };
         auto stream = executor->map(text, std::vector<std::string>(5, std::string(30, 'a')), input);
         auto moved = std::move(stream);
         int count = 0;
         for (const std::string& each : moved) count += each.empty() ? 0 : 1;
         stage.check(count == 5 || fault::failed != 0, "map lost an element");
       });
     }},
    {"as_completed",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         std::vector<AsyncFuture<int>> futures;
         for (int i = 0; i < 5; ++i) futures.push_back(executor->submit(later, i));
         int count = 0;
         for (AsyncFuture<int>& future : as_completed(futures, 10s)) {
           stage.settle<CancelledError>(future);
           ++count;
         }
         stage.check(count == 5, "as_completed lost a future");
       });
       stage.fail_in([&] {
         auto body = [&]() -> Task<std::size_t> {
           std::vector<AsyncFuture<int>> futures;
           for (int i = 0; i < 5; ++i) futures.push_back(executor->submit(later, i));
           CompletionStream<int> stream = as_completed(futures);
           std::optional<AsyncFuture<int>> first = co_await stream.next();
           stage.check(first.has_value(), "as_completed has no first future");
           std::vector<AsyncFuture<int>> rest = co_await std::move(stream);
           co_return rest.size();
         };
         stage.settle(executor->submit(body));
       });
     }},
    {"wait",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto body = [&](WaitStrategy strategy) -> Task<> {
           std::vector<AsyncFuture<int>> futures;
           for (int i = 0; i < 4; ++i) futures.push_back(executor->submit(later, i));
           WaitResult<int> result =
               co_await cohort::wait(futures, WaitOptions{.timeout = 10s, .return_when = strategy});
           stage.check(result.done.size() + result.not_done.size() == 4, "wait lost a future");
         };
         auto all = executor->submit(body, WaitStrategy::all_completed);
         stage.settle(all);
         auto first = executor->submit(body, WaitStrategy::first_completed);
         stage.settle(first);
         auto exception = executor->submit(body, WaitStrategy::first_exception);
         stage.settle(exception);
       });
     }},
    {"when_all and when_any",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto body = [&]() -> Task<int> {
           std::tuple<int, int> pair = co_await when_all(later(1), executor->submit(later, 2));
           std::vector<Task<int>> tasks;
           for (int i = 0; i < 5; ++i) tasks.push_back(later(i));
           std::vector<int> values = co_await when_all(std::move(tasks));
           co_return std::get<0>(pair) + values.back();
         };
         stage.settle(executor->submit(body));
       });
       stage.fail_in([&] {
         auto body = [&]() -> Task<int> {
           auto first = co_await when_any(later(1), later(2));
           auto second = co_await when_any(sleep_for(10s), executor->submit(later, 2));
           std::vector<AsyncFuture<int>> futures;
           for (int i = 0; i < 3; ++i) futures.push_back(executor->submit(later, i));
           auto third = co_await when_any(std::move(futures));
           co_return first.value + static_cast<int>(second.index) + third.value;
         };
         stage.settle(executor->submit(body));
       });
     }},
    {"a semaphore",
     [](Stage& stage) {
       Semaphore semaphore(1);
       Survivor executor(stage);
       stage.fail_in([&] {
         auto body = [&]() -> Task<> {
           Permit permit = co_await semaphore.acquire();
           co_await cohort::yield();
         };
         std::array<AsyncFuture<void>, 4> futures;
         stage.attempt([&] {
           for (AsyncFuture<void>& future : futures) future = executor->submit(body);
           futures[2].cancel();
         });
         for (const AsyncFuture<void>& future : futures)
           if (future.valid()) stage.settle<CancelledError>(future);
       });
       stage.check(semaphore.try_acquire(), "the permit did not come back");
       stage.check(!semaphore.try_acquire(), "a permit came back twice");
     }},
    {"sleeping and yielding",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         auto body = []() -> Task<> {
           co_await sleep_for(1us);
           co_await cohort::yield();
           co_await sleep_until(Clock::now());
         };
         auto one = executor->submit(body);
         auto other = executor->submit(body);
         stage.settle(one);
         stage.settle(other);
       });
     }},
    {"a promise, callbacks and cancel_when",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         std::atomic<int> called{0};
         int added = 0;
         {
           std::stop_source source;
           AsyncPromise<std::string> promise;
           const AsyncFuture<std::string> future = promise.get_future();
           stage.attempt([&] {
             future.add_done_callback([&](const AsyncFuture<std::string>&) { ++called; });
             ++added;
             future.add_done_callback(
                 [&, text = std::string(50, 'x')](const AsyncFuture<std::string>&) { called += text.empty() ? 0 : 1; });
             ++added;
             future.cancel_when(source.get_token());
           });
           AsyncFuture<std::size_t> waiting;
           stage.attempt([&] {
             auto body = [future]() -> Task<std::size_t> {
               const std::string& text = co_await future;
               co_return text.size();
             };
             waiting = executor->submit(body);
           });
           promise.set_result("a text that is too long to be kept in place");
           stage.settle(future);
           if (waiting.valid()) stage.settle(waiting);
         }
         stage.check(called == added, "a callback was called too often, or not");
       });
       stage.fail_in([&] {
         std::optional<AsyncPromise<int>> promise(std::in_place);
         const AsyncFuture<int> future = promise->get_future();
         promise.reset();
         stage.settle<std::future_error>(future);
       });
       stage.fail_in([&] {
         AsyncPromise<int> promise;
         const AsyncFuture<int> future = promise.get_future();
         promise.set_exception(std::make_exception_ptr(7));
         stage.attempt<InvalidStateError>([&] { promise.set_result(1); });
         stage.settle<int>(future);
       });
     }},
    {"callbacks that throw",
     [](Stage& stage) {
       std::atomic<int> reported{0};
       ExecutorOptions options = Stage::options();
       options.on_unhandled_exception = [&](const std::exception_ptr&) { ++reported; };
       AsyncExecutor executor(std::move(options));
       int added = 0;
       stage.fail_in([&] {
         AsyncFuture<int> future = executor.submit(later, 1);
         stage.attempt([&] {
           for (int i = 0; i < 3; ++i) {
             future.add_done_callback([](const AsyncFuture<int>&) { throw std::runtime_error("from a callback"); });
             ++added;
           }
         });
         stage.settle(future);
       });
       stage.check(executor.submit(answer).get() == 42, "a worker died of a callback");
       executor.shutdown();
       stage.check(reported == added, "an exception of a callback was not reported");
     }},
    {"cancelling",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         std::atomic<bool> started{false};
         auto body = [&](std::stop_token token) -> Task<> {
           std::stop_callback callback(token, [] {});
           started = true;
           co_await sleep_for(10s);
         };
         AsyncFuture<void> running = executor->submit(body);
         while (!started && !running.done()) std::this_thread::yield();
         running.cancel();
         stage.settle<CancelledError>(running);
         AsyncFuture<int> at_once = executor->submit(later, 1);
         at_once.cancel();
         stage.settle<CancelledError>(at_once);
       });
     }},
    {"shutting down",
     [](Stage& stage) {
       AsyncExecutor executor(Stage::options());
       std::vector<AsyncFuture<int>> futures;
       futures.reserve(50);
       stage.fail_in([&] {
         stage.attempt([&] {
           for (int i = 0; i < 50; ++i) futures.push_back(executor.submit(later, i));
         });
         executor.shutdown(ShutdownOptions{.wait = false});
         stage.attempt<ExecutorShutdownError>([&] { return executor.submit(answer); });
         executor.shutdown(ShutdownOptions{.wait = true, .cancel_futures = true});
         executor.shutdown();
         for (const AsyncFuture<int>& future : futures) {
           stage.check(future.done(), "shutdown returned before a task had ended");
           stage.settle<CancelledError>(future);
         }
       });
     }},
    {"a limit of concurrent tasks",
     [](Stage& stage) {
       ExecutorOptions options = Stage::options();
       options.max_concurrent_tasks = 2;
       AsyncExecutor executor(std::move(options));
       stage.fail_in([&] {
         std::array<AsyncFuture<int>, 8> futures;
         stage.attempt([&] {
           for (AsyncFuture<int>& future : futures) future = executor.submit(later, 1);
         });
         for (const AsyncFuture<int>& future : futures)
           if (future.valid()) stage.settle(future);
       });
       stage.check(executor.submit(answer).get() == 42, "a place was lost");
     }},
    {"moving between executors",
     [](Stage& stage) {
       Survivor one(stage), other(stage);
       stage.fail_in([&] {
         auto body = [&]() -> Task<int> {
           co_await other->schedule();
           const int there = co_await one->submit(later, 1);
           co_await one->schedule();
           const int here = co_await other->submit(later, 2);
           co_return there + here;
         };
         stage.settle(one->submit(body));
       });
     }},
    {"sync_wait and run",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] { static_cast<void>(sync_wait(sum_of_children(3))); });
       stage.fail_in([&] {
         auto body = []() -> Task<int> {
           co_await sleep_for(1us);
           std::tuple<int, int> both = co_await when_all(later(1), later(2));
           co_return std::get<0>(both);
         };
         static_cast<void>(sync_wait(body()));
       });
       stage.fail_in([&] { stage.settle(executor->submit([] { return sync_wait(later(1)); })); });
       stage.fail_in([&] { static_cast<void>(run(later(1))); });
     }},
    {"statistics",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] { static_cast<void>(executor->stats()); });
     }},
    {"an executor is shut down in a task of another",
     [](Stage& stage) {
       Survivor outer(stage, 1);
       stage.fail_in([&] {
         auto body = [&] {
           AsyncExecutor inner(Stage::options(1));
           stage.settle(inner.submit(later, 1));
           inner.shutdown();
         };
         stage.settle(outer->submit(body));
       });
     }},
    {"a backend runs functions",
     [](Stage& stage) {
       Survivor executor(stage);
       std::atomic<int> started{0}, ended{0};
       std::size_t accepted = 0;
       {
         ConcurrentExecutionBackend backend(*executor, BackendOptions{.history_limit = 2});
         backend.register_callback([&](const TaskResult&, TaskState state) {
           if (state != TaskState::running) ++ended;
         });
         stage.fail_in([&] {
           auto body = [](const std::string& text) { return text + text; };
           std::vector<TaskDescription> batch;
           batch.emplace_back("the first", FunctionTask(body, std::string(30, 'a')));
           batch.emplace_back("", FunctionTask(later, 1));
           batch.emplace_back("", FunctionTask([]() -> int { throw std::runtime_error("on purpose"); }));
           batch.back().metadata["key"] = "value";
           std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks(std::move(batch));
           accepted = futures.size();
           for (const AsyncFuture<TaskResult>& future : futures) {
             stage.settle<>(future);
             if (!future.exception()) {
               const TaskState state = future.get().state;
               stage.check(state == TaskState::done || state == TaskState::failed, "a task ended in no good state");
             }
           }
         });
         static_cast<void>(started);
       }
       stage.check(ended == static_cast<int>(accepted), "a task was not reported to have ended, or more than once");
     }},
    {"a backend's tasks are cancelled",
     [](Stage& stage) {
       Survivor executor(stage);
       std::atomic<int> ended{0};
       std::size_t accepted = 0;
       {
         ConcurrentExecutionBackend backend(*executor);
         backend.register_callback([&](const TaskResult&, TaskState state) {
           if (state != TaskState::running) ++ended;
         });
         std::vector<AsyncFuture<TaskResult>> futures;
         stage.fail_in([&] {
           auto sleeper = []() -> Task<> { co_await sleep_for(10s); };
           std::vector<TaskDescription> batch;
           batch.emplace_back("one", FunctionTask(sleeper));
           batch.emplace_back("two", FunctionTask(sleeper));
           batch.emplace_back("three", FunctionTask(sleeper));
           futures = backend.submit_tasks(std::move(batch));
           accepted = futures.size();
           if (backend.cancel_task("two")) stage.settle(futures[1]);
           futures[2].cancel();
           stage.attempt([&] { return backend.cancel_all_tasks(); });
           backend.shutdown();
           for (const AsyncFuture<TaskResult>& future : futures) {
             stage.check(future.done(), "shutdown returned before a task had ended");
             stage.settle<CancelledError>(future);
           }
         });
         // The destructor is under failure, too.
         fault::armed = true;
       }
       fault::disarm();
       stage.check(ended == static_cast<int>(accepted), "a task was not reported to have ended, or more than once");
     }},
    {"a backend is made, told of callbacks, and destroyed",
     [](Stage& stage) {
       stage.fail_in([&] {
         ConcurrentExecutionBackend backend(Stage::options(1));
         backend.register_callback([text = std::string(50, 'x')](const TaskResult&, TaskState) {});
         backend.register_callback([text = std::string(50, 'x')](const TaskResult&, TaskState) {});
         ConcurrentExecutionBackend moved(std::move(backend));
         moved.shutdown();
       });
       stage.fail_in([&] {
         ConcurrentExecutionBackend backend(Stage::options(1));
         std::vector<TaskDescription> batch;
         batch.emplace_back("slow", FunctionTask([]() -> Task<> { co_await sleep_for(10s); }));
         static_cast<void>(backend.submit_tasks(std::move(batch)));
       });
     }},
    {"a backend runs programs",
     [](Stage& stage) {
       Survivor executor(stage);
       std::atomic<int> ended{0};
       std::size_t accepted = 0;
       {
         ConcurrentExecutionBackend backend(*executor, BackendOptions{.kill_grace = 1s});
         backend.register_callback([&](const TaskResult&, TaskState state) {
           if (state != TaskState::running) ++ended;
         });
         stage.fail_in([&] {
           std::vector<TaskDescription> batch;
           batch.emplace_back("cat", ExecutableTask{.program = "cat", .standard_input = std::string(100, 'x')});
           batch.emplace_back("no", ExecutableTask{.program = "exit 3", .shell = true});
           std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks(std::move(batch));
           accepted = futures.size();
           for (const AsyncFuture<TaskResult>& future : futures) stage.settle(future);
         });
       }
       stage.check(ended == static_cast<int>(accepted), "a task was not reported to have ended, or more than once");
     }},
    {"a backend's program is stopped",
     [](Stage& stage) {
       Survivor executor(stage);
       stage.fail_in([&] {
         ConcurrentExecutionBackend backend(*executor, BackendOptions{.kill_grace = 1s});
         std::vector<TaskDescription> batch;
         batch.emplace_back("sleep", ExecutableTask{.program = "sleep", .arguments = {"10"}});
         std::vector<AsyncFuture<TaskResult>> futures = backend.submit_tasks(std::move(batch));
         while (backend.task_state("sleep") == TaskState::pending) std::this_thread::yield();
         backend.cancel_task("sleep");
         stage.settle(futures[0]);
       });
     }},
    {"a dry run",
     [](Stage& stage) {
       stage.fail_in([&] {
         NoopExecutionBackend backend(2);
         backend.register_callback([](const TaskResult&, TaskState) {});
         std::vector<TaskDescription> batch;
         for (int i = 0; i < 4; ++i) batch.emplace_back("", FunctionTask(answer));
         for (const AsyncFuture<TaskResult>& future : backend.submit_tasks(std::move(batch))) stage.settle(future);
         backend.cancel_all_tasks();
         backend.shutdown();
       });
     }},
};

// ---- The sweep -----------------------------------------------------------------------------------------------------

long faults_injected = 0;

/// Fails each allocation of the scenario in turn; gives what went wrong, or null.
const char* sweep(const Scenario& scenario, std::string& where) {
  fault::scenario = scenario.name;
  const std::ptrdiff_t threads = settled_thread_count();
  const auto once = [&](long first) -> const char* {
    fault::watch_for(60);
    fault::first_to_fail = first;
    fault::failed = 0;
    Stage stage;
    scenario.run(stage);
    // Threads that were not joined may still be on their way out, and have something to give back.
    stage.check(eventually([&] { return thread_count() == threads; }), "a thread stays");
    return stage.complaint();
  };
  fault::plan = {fault::Whose::anybodys, fault::Which::one};
  static_cast<void>(once(1'000'000));  // what is needed once and kept
  static_cast<void>(once(1'000'000));
  for (const fault::Plan& plan : fault::plans) {
    fault::plan = plan;
    int without = 0;  // runs in a row that had nothing to fail: what happens on the workers differs from run to run
    for (long first = 0; without < 3; ++first) {
      const long before = fault::live;
      const std::ptrdiff_t frames_before = detail::live_frames();
      const char* complaint = once(first);
      without = fault::failed == 0 ? without + 1 : 0;
      faults_injected += fault::failed;
      if (fault::live != before && complaint == nullptr) complaint = "it leaks";
      if (detail::live_frames() != frames_before && complaint == nullptr) complaint = "it leaves frames behind";
      if (complaint != nullptr) {
        where = std::string(scenario.name) + ", allocation " + std::to_string(first) +
                (plan.which == fault::Which::one ? "" : " and all later ones") +
                (plan.whose == fault::Whose::workers ? ", of the workers" : "") + ": live " +
                std::to_string(fault::live - before);
        return complaint;
      }
    }
  }
  return nullptr;
}

}  // namespace

TEST_CASE("every allocation fails once, each in turn, and nothing is lost", "[R7][R9]") {
  int number = 0;
  for (const Scenario& scenario : scenarios) {
    std::string where;
    const char* complaint = sweep(scenario, where);
    if (complaint != nullptr) {
      FAIL_CHECK(where << ": " << complaint);
    }
    ++number;
  }
  ::alarm(0);
  std::printf("%d scenarios, %ld allocations failed\n", number, faults_injected);
  REQUIRE(faults_injected > 1000);
}

// ---- What allocates nothing ----------------------------------------------------------------------------------------

namespace {

/// What was allocated where it is forbidden, since this was made.
class Breaches {
 public:
  Breaches() { fault::breaches = 0; }
  [[nodiscard]] int count() const { return fault::breaches; }
};

constexpr DenyAllocation::On all_threads = DenyAllocation::On::all_threads;

}  // namespace

TEST_CASE("to complete a task and to wake whoever waits for it allocates nothing", "[R7][R9]") {
  AsyncExecutor executor(2);
  Gate gate;
  AsyncGate start;
  std::atomic<int> called{0};
  std::vector<AsyncFuture<int>> tasks;
  std::vector<AsyncFuture<void>> waiters;
  // Half of the tasks block a worker each, the rest wait in the queue, and as many are suspended.
  auto blocking = [&] {
    gate.wait();
    return 1;
  };
  auto suspended = [&]() -> Task<int> {
    co_await start.passed();
    co_return 2;
  };
  // A task counts as running before its coroutine has a frame: only who waits for something allocates nothing any more.
  for (int i = 0; i < 20; ++i) tasks.push_back(executor.submit(suspended));
  REQUIRE(eventually([&] { return executor.stats().running == 20; }));
  REQUIRE(eventually([&] { return all_asleep(executor); }));
  for (int i = 0; i < 4; ++i) tasks.push_back(executor.submit(blocking));
  auto one = [&](const AsyncFuture<int>& future) -> Task<> { static_cast<void>(co_await future); };
  auto timed = [&](const AsyncFuture<int>& future) -> Task<> { static_cast<void>(co_await future.result(1h)); };
  // On an executor of their own, whose workers are free to begin to wait.
  AsyncExecutor other(2);
  for (const AsyncFuture<int>& task : tasks) {
    waiters.push_back(other.submit(one, task));
    waiters.push_back(other.submit(timed, task));
    task.add_done_callback([&](const AsyncFuture<int>&) { ++called; });
  }
  REQUIRE(eventually([&] { return other.stats().running == waiters.size(); }));
  REQUIRE(eventually([&] { return all_asleep(other); }));

  const Breaches breaches;
  {
    const DenyAllocation denied(all_threads);
    gate.open();
    start.open();
    for (const AsyncFuture<int>& task : tasks) task.wait();
    for (const AsyncFuture<void>& waiter : waiters) waiter.wait();
  }
  REQUIRE(breaches.count() == 0);
  for (const AsyncFuture<void>& waiter : waiters) waiter.get();
  executor.shutdown();
  REQUIRE(called == static_cast<int>(tasks.size()));
}

TEST_CASE("to keep a promise that streams and waits watch allocates nothing", "[R9]") {
  AsyncExecutor executor(2);
  std::vector<AsyncPromise<int>> promises(10);
  std::vector<AsyncFuture<int>> futures;
  for (const AsyncPromise<int>& promise : promises) futures.push_back(promise.get_future());
  std::atomic<int> waiting{0};
  auto all = [&]() -> Task<std::size_t> {
    Task<WaitResult<int>> result = cohort::wait(futures);
    ++waiting;
    WaitResult<int> both = co_await std::move(result);
    co_return both.done.size();
  };
  auto stream = [&]() -> Task<std::size_t> {
    CompletionStream<int> completed = as_completed(futures);
    ++waiting;
    std::vector<AsyncFuture<int>> collected = co_await std::move(completed);
    co_return collected.size();
  };
  std::vector<AsyncFuture<std::size_t>> watchers;
  for (int i = 0; i < 5; ++i) {
    watchers.push_back(executor.submit(all));
    watchers.push_back(executor.submit(stream));
  }
  REQUIRE(eventually([&] { return waiting == 10; }));
  std::this_thread::sleep_for(10ms);
  const Breaches breaches;
  {
    const DenyAllocation denied;  // here; those who are woken go on and allocate what they like
    for (const AsyncPromise<int>& promise : promises) promise.set_result(1);
  }
  REQUIRE(breaches.count() == 0);
  for (const AsyncFuture<std::size_t>& watcher : watchers) REQUIRE(watcher.get() == 10);
}

TEST_CASE("a timer that fires and a permit that is given back allocate nothing", "[R9]") {
  AsyncExecutor executor(2);
  Semaphore semaphore(0);
  std::vector<AsyncFuture<void>> sleepers;
  std::vector<AsyncFuture<void>> waiters;
  std::atomic<int> waiting{0};
  auto sleeper = [&]() -> Task<> {
    ++waiting;
    co_await sleep_for(200ms);
  };
  auto waiter = [&]() -> Task<> {
    ++waiting;
    const Permit permit = co_await semaphore.acquire();
  };
  for (int i = 0; i < 50; ++i) {
    sleepers.push_back(executor.submit(sleeper));
    waiters.push_back(executor.submit(waiter));
  }
  REQUIRE(eventually([&] { return waiting == 100; }));
  const Breaches breaches;
  {
    const DenyAllocation denied(all_threads);
    semaphore.release();
    for (const AsyncFuture<void>& each : sleepers) each.wait();
    for (const AsyncFuture<void>& each : waiters) each.wait();
  }
  REQUIRE(breaches.count() == 0);
}

TEST_CASE("to cancel allocates nothing", "[R6][R9]") {
  AsyncExecutor executor(1);
  Semaphore semaphore(0);
  AsyncPromise<int> promise;
  const AsyncFuture<int> promised = promise.get_future();
  std::atomic<int> called{0};
  std::atomic<int> stopped{0};
  std::atomic<int> waiting{0};
  auto sleeper = [&]() -> Task<> {
    ++waiting;
    co_await sleep_for(1h);
  };
  auto waiter = [&]() -> Task<> {
    ++waiting;
    const Permit permit = co_await semaphore.acquire();
  };
  auto reader = [&]() -> Task<> {
    ++waiting;
    static_cast<void>(co_await promised);
  };
  auto listener = [&](std::stop_token token) -> Task<> {
    const std::stop_callback callback(token, [&] { ++stopped; });
    ++waiting;
    co_await sleep_for(1h);
  };
  std::vector<AsyncFuture<void>> running;
  running.push_back(executor.submit(sleeper));
  running.push_back(executor.submit(waiter));
  running.push_back(executor.submit(reader));
  running.push_back(executor.submit(listener));
  running.push_back(executor.submit(SubmitOptions{.retries = 1, .timeout = 1h}, sleeper));
  REQUIRE(eventually([&] { return waiting == static_cast<int>(running.size()); }));
  Occupy occupied(executor);
  std::vector<AsyncFuture<void>> queued;
  for (int i = 0; i < 20; ++i) {
    queued.push_back(executor.submit([text = std::string(50, 'x')] { static_cast<void>(text); }));
    queued.back().add_done_callback([&](const AsyncFuture<void>&) { ++called; });
  }
  std::stop_source source;
  queued.back().cancel_when(source.get_token());

  const Breaches breaches;
  int refused = 0;
  {
    const DenyAllocation denied;
    source.request_stop();
    for (const AsyncFuture<void>& future : queued) future.cancel();
    for (const AsyncFuture<void>& future : running)
      if (!future.cancel()) ++refused;
    if (!promised.cancel()) ++refused;
  }
  REQUIRE(breaches.count() == 0);
  REQUIRE(refused == 0);
  REQUIRE(called == 20);
  REQUIRE(stopped == 1);
  occupied.release();
  for (const AsyncFuture<void>& future : running) future.wait();
}

TEST_CASE("to shut an executor down allocates nothing", "[R5][R9]") {
  const bool cancel = GENERATE(false, true);
  std::atomic<int> ran{0};
  Breaches breaches;
  {
    AsyncExecutor executor(3);
    Gate gate;
    Semaphore semaphore(0);
    auto body = [&]() -> Task<> {
      co_await cohort::yield();
      ++ran;
    };
    auto blocking = [&] { gate.wait(); };
    std::vector<AsyncFuture<void>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(executor.submit(blocking));
    for (int i = 0; i < 100; ++i) futures.push_back(executor.submit(body()));  // with its frame
    std::jthread opener([&] {
      std::this_thread::sleep_for(5ms);
      gate.open();
    });
    std::this_thread::sleep_for(1ms);
    const DenyAllocation denied(all_threads);
    executor.shutdown(ShutdownOptions{.wait = false, .cancel_futures = cancel});
    executor.shutdown();
  }
  REQUIRE(breaches.count() == 0);
  REQUIRE((cancel ? ran <= 100 : ran == 100));
}

TEST_CASE("to shut a backend down allocates nothing", "[R5][R9]") {
  Breaches breaches;
  std::atomic<int> ended{0};
  std::atomic<int> started{0};
  {
    AsyncExecutor executor(2);
    ConcurrentExecutionBackend backend(executor);
    backend.register_callback(
        [&](const TaskResult&, TaskState state) { ++(state == TaskState::running ? started : ended); });
    std::vector<TaskDescription> batch;
    for (int i = 0; i < 20; ++i) batch.emplace_back("", FunctionTask([]() -> Task<> { co_await sleep_for(1h); }));
    static_cast<void>(backend.submit_tasks(std::move(batch)));
    REQUIRE(eventually([&] { return started == 20; }));
    const DenyAllocation denied;  // here; those who are stopped throw, and an exception has a text
    static_cast<void>(backend.cancel_all_tasks());
    backend.shutdown();
  }
  REQUIRE(breaches.count() == 0);
  REQUIRE(ended == 20);
}

TEST_CASE("to let go of futures, streams and tasks allocates nothing", "[R9]") {
  AsyncExecutor executor(1);
  Breaches breaches;
  {
    Occupy occupied(executor);
    std::vector<AsyncFuture<int>> futures;
    for (int i = 0; i < 20; ++i) futures.push_back(executor.submit(later, i));
    std::optional<CompletionStream<int>> completions(as_completed(std::vector(futures.begin(), futures.begin() + 10)));
    std::optional<ResultStream<int>> results(executor.map(later, std::vector<int>(20, 1)));
    std::optional<ResultStream<int>> moved;
    std::optional<Task<int>> task(sum_of_children(3));
    {
      const DenyAllocation denied;
      moved.emplace(std::move(*results));
      results.reset();
      moved.reset();
      completions.reset();
      task.reset();
      futures.clear();
    }
  }
  REQUIRE(breaches.count() == 0);
}

TEST_CASE("a worker that wakes more tasks than its deque has room for allocates nothing", "[R9]") {
  AsyncExecutor executor(1);
  AsyncGate gate;
  std::atomic<int> waiting{0}, resumed{0};
  auto body = [&]() -> Task<> {
    ++waiting;
    co_await gate.passed();
    ++resumed;
  };
  for (int i = 0; i < 2000; ++i) static_cast<void>(executor.submit(body));
  REQUIRE(eventually([&] { return waiting == 2000; }));
  std::this_thread::sleep_for(10ms);
  const Breaches breaches;
  auto open = [&] {
    const DenyAllocation denied;
    gate.open();
  };
  executor.submit(open).get();
  REQUIRE(breaches.count() == 0);
  executor.shutdown();
  REQUIRE(resumed == 2000);
}

TEST_CASE("a stream of map whose chunk failed, and cannot say so, goes on behind it", "[R7][R9]") {
  int skipped = 0;
  for (long allocation = 0; allocation < 8; ++allocation) {
    AsyncExecutor executor(Stage::options(1));
    auto identity = [](int value) { return value; };
    fault::arm(fault::Whose::workers, allocation);
    auto stream = executor.map(MapOptions{.buffer_size = 2, .chunk_size = 2}, identity, std::vector{1, 2, 3, 4});
    const bool first_done = eventually([&] { return executor.stats().succeeded + executor.stats().failed == 1; });
    fault::arm(fault::Whose::anybodys, 0);
    int first = 0;
    try {
      for (const int value : stream) {
        first = value;
        break;
      }
    } catch (const std::bad_alloc&) {
    }
    fault::disarm();
    REQUIRE(first_done);
    if (first != 0) continue;
    ++skipped;
    std::vector<int> rest;
    for (const int value : stream) rest.push_back(value);
    REQUIRE(rest == std::vector{3, 4});
  }
  REQUIRE(skipped > 0);
}

TEST_CASE("a slab of frames that there is no memory to remember goes back at once", "[R9]") {
  detail::FrameSlabs slabs;
  for (const bool fails : {true, false}) {
    void* const memory = detail::FrameSlabs::obtain();
    if (memory == nullptr) return;  // no such system
    if (fails) fault::arm(fault::Whose::anybodys, 0);
    slabs.add(memory, 3);
    fault::disarm();
    const detail::FrameSlabs::Chain chain = slabs.take(3, 1);
    REQUIRE(chain.count == (fails ? 0 : 1));
    if (!fails) REQUIRE(slabs.give_back(chain.first));
  }
}

TEST_CASE("a worker whose deque cannot grow refuses what is submitted there, and keeps the rest", "[R7][R9]") {
  AsyncExecutor executor(Stage::options(1));
  int accepted = 0;
  int refused = 0;
  std::atomic<int> ran{0};
  auto body = [&] { ++ran; };
  auto submit_many = [&] {
    for (int i = 0; i < 2000; ++i) {
      fault::arm(fault::Whose::workers, 1);  // the task's own memory comes first
      try {
        static_cast<void>(executor.submit(body));
        ++accepted;
      } catch (const std::bad_alloc&) {
        ++refused;
      }
      fault::disarm();
    }
  };
  executor.submit(submit_many).get();
  executor.shutdown();
  REQUIRE(refused > 0);
  REQUIRE(accepted > 0);
  REQUIRE(ran == accepted);
  REQUIRE(executor.stats().succeeded == static_cast<std::uint64_t>(accepted) + 1);
}
