// What one would write in an hour: threads that take jobs from moodycamel's queue, and std::future.
#pragma once

#include <concurrentqueue/blockingconcurrentqueue.h>

#include <cstddef>  // for std::size_t
#include <future>   // for std::promise
#include <memory>   // for std::unique_ptr
#include <thread>   // for std::jthread
#include <utility>  // for std::move
#include <vector>   // for std::vector

namespace contenders {

class PlainPool {
 public:
  static constexpr const char* name = "plain_pool";
  explicit PlainPool(std::size_t workers) {
    for (std::size_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  PlainPool(const PlainPool&) = delete;
  PlainPool& operator=(const PlainPool&) = delete;
  ~PlainPool() {
    for (std::size_t i = 0; i < threads_.size(); ++i) queue_.enqueue(nullptr);
  }

  template <class F>
  auto submit(F function) {
    auto call = std::make_unique<Call<F>>(std::move(function));
    auto future = call->promise.get_future();
    queue_.enqueue(std::move(call));
    return future;
  }
  /// Without a future.
  template <class F>
  void post(F function) {
    queue_.enqueue(std::make_unique<Post<F>>(std::move(function)));
  }

 private:
  struct Job {
    Job() = default;
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    virtual ~Job() = default;
    virtual void run() = 0;
  };
  template <class F>
  struct Call final : Job {
    explicit Call(F called) : function(std::move(called)) {}
    void run() override { promise.set_value(function()); }

    std::promise<decltype(std::declval<F&>()())> promise;
    F function;
  };
  template <class F>
  struct Post final : Job {
    explicit Post(F called) : function(std::move(called)) {}
    void run() override { function(); }

    F function;
  };

  void work() {
    for (;;) {
      std::unique_ptr<Job> job;
      queue_.wait_dequeue(job);
      if (job == nullptr) return;
      job->run();
    }
  }

  moodycamel::BlockingConcurrentQueue<std::unique_ptr<Job>> queue_;
  std::vector<std::jthread> threads_;  // last: they use the queue
};

}  // namespace contenders
