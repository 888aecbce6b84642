// No lock of the library is held while the user's code runs: from every place where it runs, it calls back into the
// library, on objects that are being used by those who called it.
#include "adaptor_support.hpp"
#include "catch.hpp"

#include <cohort/cohort.hpp>

#include <atomic>      // for atomic
#include <functional>  // for function
#include <memory>      // for shared_ptr
#include <optional>    // for optional
#include <stop_token>  // for stop_callback
#include <string>      // for string
#include <utility>     // for move
#include <vector>      // for vector

using namespace cohort;
using namespace test;
using namespace std::chrono_literals;

namespace {

/// Uses everything that it knows of: an executor, a backend, a semaphore, a future, a promise.
struct World {
  explicit World(AsyncExecutor& one) : executor(one) {}

  /// From anywhere, on any thread. Counts the times that it came through.
  void use() {
    if (inside > 3) return;  // what it does may call it again
    ++inside;
    AsyncExecutor& mine = executor;
    static_cast<void>(mine.stats());
    static_cast<void>(mine.max_workers());
    try {
      AsyncFuture<int> future = mine.submit(identity, 1);
      future.add_done_callback([](const AsyncFuture<int>&) {});
      static_cast<void>(future.done());
      future.cancel();
      static_cast<void>(mine.submit(identity, 2));
      // To wait for: elsewhere, since all of its workers may be busy.
      const AsyncFuture<int> kept = side.submit(identity, 2);
      kept.wait();
      const std::vector<AsyncFuture<int>> futures{kept, future};
      for (const AsyncFuture<int>& each : as_completed(futures)) static_cast<void>(each.done());
      auto stream = side.map(identity, std::vector<int>{1, 2, 3});
      static_cast<void>(sync_wait(stream.next()));
    } catch (const ExecutorShutdownError&) {
    }
    if (semaphore.try_acquire()) semaphore.release();
    source.request_stop();
    static_cast<void>(promised.done());
    if (backend != nullptr && ++used_backend < 50) {  // each task submitted here uses it again
      static_cast<void>(backend->state());
      static_cast<void>(backend->task_state("task"));
      backend->cancel_task("nobody");
      backend->register_callback([](const TaskResult&, TaskState) {});
      try {
        std::vector<TaskDescription> batch;
        batch.emplace_back("", FunctionTask(identity, 1));
        static_cast<void>(backend->submit_tasks(std::move(batch)));
      } catch (const ExecutorShutdownError&) {
      }
    }
    ++used;
    --inside;
  }

  AsyncExecutor& executor;
  AsyncExecutor side{1};
  ConcurrentExecutionBackend* backend = nullptr;
  Semaphore semaphore{1};
  std::stop_source source;
  AsyncPromise<int> promise;
  AsyncFuture<int> promised = promise.get_future();
  std::atomic<int> used{0};
  std::atomic<int> used_backend{0};
  static inline thread_local int inside = 0;
};

/// Uses the world when it is copied, moved and destroyed.
class Meddler {
 public:
  explicit Meddler(World* world) : world_(world) {}
  Meddler(const Meddler& other) : world_(other.world_) { meddle(); }
  Meddler(Meddler&& other) noexcept : world_(other.world_) { meddle(); }
  Meddler& operator=(const Meddler& other) {
    world_ = other.world_;
    meddle();
    return *this;
  }
  Meddler& operator=(Meddler&& other) noexcept {
    world_ = other.world_;
    meddle();
    return *this;
  }
  ~Meddler() { meddle(); }

 private:
  void meddle() const noexcept {
    if (world_ != nullptr) world_->use();
  }
  World* world_;
};

/// Does it in a thread of its own, and says whether it came to an end.
template <class Action>
bool ends(Action action) {
  AsyncPromise<void> over;
  const AsyncFuture<void> future = over.get_future();
  std::thread thread([&] {
    action();
    over.set_result();
  });
  const bool in_time = future.wait_for(patience);
  if (!in_time) {
    std::cerr << "\nStuck. What goes on in its executors:\n";
    print_executors();
    std::abort();  // it has references to this stack
  }
  thread.join();
  return in_time;
}

}  // namespace

TEST_CASE("callables, arguments and results may use the library when they run, are copied, moved and destroyed",
          "[R16]") {
  const std::size_t workers = GENERATE(std::size_t{1}, std::size_t{2});
  REQUIRE(ends([&] {
    AsyncExecutor executor(workers);
    World world(executor);
    auto function = [&](const Meddler&) {
      world.use();
      return Meddler(&world);
    };
    auto coroutine = [&](Meddler kept) -> Task<Meddler> {
      co_await cohort::yield();
      world.use();
      co_return kept;
    };
    static_cast<void>(executor.submit(function, Meddler(&world)).get());
    static_cast<void>(executor.submit(coroutine, Meddler(&world)).get());
    const SubmitOptions options{.retries = 2, .semaphore = &world.semaphore, .timeout = 1h};
    static_cast<void>(executor.submit(options, function, Meddler(&world)).get());
    for (const Meddler& each : executor.map(function, std::vector<Meddler>(3, Meddler(&world)))) Meddler copy(each);
    {
      Occupy occupied(executor, workers);
      executor.submit(function, Meddler(&world)).cancel();  // destroyed by cancel()
      static_cast<void>(executor.submit(function, Meddler(&world)));
      executor.shutdown(ShutdownOptions{.wait = false, .cancel_futures = true});  // destroyed by shutdown()
    }
    try {
      static_cast<void>(executor.submit(function, Meddler(&world)));  // destroyed by submit()
    } catch (const ExecutorShutdownError&) {
    }
    executor.shutdown();
    if (world.used < 20) std::abort();
  }));
}

TEST_CASE("tasks that wait for room or for a permit may use the library when a shutdown cancels them", "[R16]") {
  REQUIRE(ends([&] {
    ExecutorOptions options;
    options.max_workers = 1;
    options.max_concurrent_tasks = 1;
    AsyncExecutor executor(options);
    World world(executor);
    AsyncExecutor open(1);
    World other(open);
    Semaphore none(0);
    auto function = [](const Meddler&) {};
    const SubmitOptions waits{.semaphore = &none};
    {
      Occupy occupied(executor);
      // World::use() would wait for room: here only what destroys it is of interest.
      for (int i = 0; i < 3; ++i) static_cast<void>(executor.submit(function, Meddler(&other)));
      for (int i = 0; i < 3; ++i) static_cast<void>(open.submit(waits, function, Meddler(&other)));
      while (open.stats().pending != 0) std::this_thread::yield();
      executor.shutdown(ShutdownOptions{.wait = false, .cancel_futures = true});
    }
    open.shutdown(ShutdownOptions{.cancel_futures = true});
  }));
}

TEST_CASE("callbacks may use the library, their future and their executor", "[R16]") {
  REQUIRE(ends([&] {
    AsyncExecutor executor(2);
    World world(executor);
    AsyncFuture<int> later = executor.submit([]() -> Task<int> {
      co_await sleep_for(1ms);
      co_return 1;
    });
    auto callback = [&, meddler = Meddler(&world)](AsyncFuture<int> done) {
      world.use();
      done.add_done_callback([&](const AsyncFuture<int>&) { world.use(); });
      done.cancel();
      done.wait();
    };
    later.add_done_callback(callback);
    world.promised.add_done_callback(callback);
    world.promised.cancel_when(world.source.get_token());
    world.source.request_stop();
    later.wait();
    later.add_done_callback(callback);
    executor.shutdown();
  }));
}

TEST_CASE("a callback may block until those have gone on whom the end of its task has woken", "[R16]") {
  const int how = GENERATE(0, 1, 2);
  REQUIRE(ends([&] {
    AsyncExecutor other(1);
    AsyncExecutor executor(2);
    AsyncPromise<void> go;
    Gate passed;
    const AsyncFuture<void> opened = go.get_future();
    const AsyncFuture<void> first = executor.submit([opened]() -> Task<> { co_await opened; });
    std::atomic<bool> waits = false;
    std::atomic<bool> at_home = true;
    const AsyncFuture<void> second = executor.submit([&, first]() -> Task<> {
      const detail::Scheduler* const home = detail::thread_context().scheduler;
      waits = true;
      co_await first;
      if (detail::thread_context().scheduler != home) at_home = false;
      passed.open();
    });
    const AsyncFuture<void> third = other.submit([second]() -> Task<> { co_await second; });
    while (!waits) std::this_thread::yield();
    std::this_thread::sleep_for(10ms);  // by now all are most likely suspended
    first.add_done_callback([&](const AsyncFuture<void>&) {
      if (how == 0) passed.wait();
      if (how == 1) other.shutdown();
      if (how == 2) sync_wait([]() -> Task<> { co_await sleep_for(10ms); }());
    });
    go.set_result();
    executor.shutdown();
    if (!at_home) std::abort();
  }));
}

TEST_CASE("stop callbacks may use the library, and the future whose task is asked to stop", "[R16]") {
  REQUIRE(ends([&] {
    AsyncExecutor executor(2);
    World world(executor);
    std::atomic<int> called{0};
    AsyncFuture<void> future;
    std::atomic<bool> started{false};
    auto body = [&](std::stop_token token) -> Task<> {
      const std::stop_callback callback(token, [&] {
        world.use();
        future.cancel();
        future.add_done_callback([](const AsyncFuture<void>&) {});
        ++called;
      });
      auto child = [&](std::stop_token inner) -> Task<> {
        const std::stop_callback also(inner, [&] {
          world.use();
          ++called;
        });
        started = true;
        co_await sleep_for(1h);
      };
      const std::stop_token mine = co_await get_stop_token();
      co_await when_all(child(mine), sleep_for(1h));
    };
    future = executor.submit(body);
    while (!started) std::this_thread::yield();
    future.cancel();
    future.wait();
    if (called != 2) std::abort();
  }));
}

TEST_CASE("ranges, retry_if and the handlers of an executor may use the library", "[R16]") {
  static World* here = nullptr;
  REQUIRE(ends([&] {
    std::optional<World> world;
    ExecutorOptions options;
    options.max_workers = 2;
    options.on_unhandled_exception = [&](const std::exception_ptr&) { world->use(); };
    options.on_worker_start = [&](std::size_t) {
      if (world) world->use();  // by a thread that takes a blocked worker's place
    };
    AsyncExecutor executor(std::move(options));
    world.emplace(executor);
    here = &*world;
    struct Source {
      World* world;
      int at = 0;
      struct Iterator {
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;
        Source* source;
        int operator*() const {
          source->world->use();
          return source->at;
        }
        Iterator& operator++() {
          source->world->use();
          ++source->at;
          return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return source->at == 5; }
      };
      Iterator begin() { return Iterator{this}; }
      [[nodiscard]] std::default_sentinel_t end() const { return {}; }
    };
    int sum = 0;
    for (const int value : executor.map(MapOptions{.buffer_size = 2}, identity, Source{&*world})) sum += value;
    if (sum != 10) std::abort();
    const auto again = [](const std::exception_ptr&) {
      here->use();
      return true;
    };
    auto fails = []() -> int { throw 7; };
    try {
      static_cast<void>(executor
                            .submit(SubmitOptions{.retries = 2,
                                                  .retry_delay = 0s,
                                                  .retry_if = again,
                                                  .semaphore = &world->semaphore,
                                                  .timeout = 1h},
                                    fails)
                            .get());
    } catch (int) {
    }
    executor.submit(identity, 1).add_done_callback([](const AsyncFuture<int>&) { throw 7; });
    auto blocks = [&] {
      return executor
          .submit([]() -> Task<int> {
            co_await sleep_for(1ms);
            co_return 1;
          })
          .get();
    };
    executor.submit(blocks).wait();
    executor.shutdown();
  }));
}

TEST_CASE("a backend's functions and callbacks may use it when they run, are copied and destroyed", "[R16]") {
  REQUIRE(ends([&] {
    AsyncExecutor executor(2);
    World world(executor);
    {
      ConcurrentExecutionBackend backend(executor, BackendOptions{.history_limit = 3});
      world.backend = &backend;
      auto callback = [&, meddler = Meddler(&world)](const TaskResult&, TaskState) { world.use(); };
      backend.register_callback(callback);
      backend.register_callback(callback);
      auto function = [&](const Meddler&) { world.use(); };
      for (int round = 0; round < 3; ++round) {
        std::vector<TaskDescription> batch;
        batch.emplace_back("task", FunctionTask(function, Meddler(&world)));
        batch.emplace_back("", FunctionTask(function, Meddler(&world)));
        batch.back().options.retries = 1;
        for (const auto& future : backend.submit_tasks(std::move(batch))) future.wait();
      }
      std::vector<TaskDescription> refused;
      refused.emplace_back("twice", FunctionTask(function, Meddler(&world)));
      refused.emplace_back("twice", FunctionTask(function, Meddler(&world)));
      try {
        static_cast<void>(backend.submit_tasks(std::move(refused)));
      } catch (const std::invalid_argument&) {
      }
      auto sleeper = [](const Meddler&) -> Task<> { co_await sleep_for(1h); };
      std::vector<TaskDescription> batch;
      for (int i = 0; i < 4; ++i) batch.emplace_back("", FunctionTask(sleeper, Meddler(&world)));
      static_cast<void>(backend.submit_tasks(std::move(batch)));
      backend.cancel_all_tasks();
      backend.shutdown();
    }
    world.backend = nullptr;
  }));
}
