// A walk through cohort: every idea once, in a few lines each. Copy from here.
//
// The rule to keep in mind while copying: bind the result of a co_await to a name before doing anything else with it,
// and give a lambda that captures something a name before it takes part in a co_await expression. Both are good style
// anyway; GCC 12 miscompiles the alternatives.

#include <cohort/cohort.hpp>

#include <atomic>     // for atomic
#include <chrono>     // for the literals
#include <iostream>   // for cout
#include <numeric>    // for iota
#include <optional>   // for optional
#include <stdexcept>  // for runtime_error
#include <utility>    // for move
#include <vector>     // for vector

using namespace std::chrono_literals;

// A task is a coroutine. It is lazy: nothing happens until somebody awaits or submits it.
cohort::Task<int> process_item(int x) {
  co_await cohort::sleep_for(100ms);  // suspends the coroutine, never a thread
  co_return x * 2;
}

cohort::Task<int> after(cohort::Duration delay, int value) {
  co_await cohort::sleep_for(delay);
  co_return value;
}

cohort::Task<int> fail_after(cohort::Duration delay) {
  co_await cohort::sleep_for(delay);
  throw std::runtime_error("out of luck");
}

// submit() starts a task on the executor's workers and returns at once; the future is awaited when the result is due.
cohort::Task<> submitting(cohort::AsyncExecutor& executor) {
  std::cout << "submit\n";
  cohort::AsyncFuture<int> future = executor.submit(process_item, 10);
  const int result = co_await future;
  std::cout << "  process_item(10) gives " << result << '\n';

  // A plain function will do as well. An exception ends in the future, and leaves it where the future is awaited.
  cohort::AsyncFuture<int> unlucky = executor.submit([]() -> int { throw std::runtime_error("no such item"); });
  try {
    co_await unlucky;
  } catch (const std::runtime_error& error) {
    std::cout << "  an exception arrives here: " << error.what() << '\n';
  }
}

// map() works on all elements at once, and hands out the results in the order of the input.
cohort::Task<> mapping(cohort::AsyncExecutor& executor) {
  std::cout << "map\n ";
  const std::vector<int> items{0, 1, 2, 3, 4};  // or any other range, std::views::iota(0, 5) for one
  auto results = executor.map(process_item, items);
  while (std::optional<int> result = co_await results.next()) std::cout << ' ' << *result;
  std::cout << '\n';

  // The input is pulled lazily, here no more than four elements ahead. To leave the stream is to cancel what is under way.
  std::vector<int> million(1'000'000);
  std::iota(million.begin(), million.end(), 100);
  auto first_ones = executor.map(cohort::MapOptions{.buffer_size = 4}, process_item, std::move(million));
  std::cout << " ";
  for (int i = 0; i < 3; ++i) {
    const std::optional<int> result = co_await first_ones.next();
    std::cout << ' ' << *result;
  }
  std::cout << " will do\n";
}

// A task that fails may be run again, with growing pauses in between; while it pauses, it holds no thread.
cohort::Task<> retrying(cohort::AsyncExecutor& executor) {
  std::cout << "retries\n";
  std::atomic<int> attempts = 0;
  auto connect = [&attempts]() -> int {
    const int attempt = ++attempts;
    if (attempt < 3) throw std::runtime_error("connection refused");
    return attempt;
  };
  const cohort::SubmitOptions options{.retries = 4, .retry_delay = 10ms, .backoff = 2.0, .max_retry_delay = 1s};
  cohort::AsyncFuture<int> future = executor.submit(options, connect);
  const int attempt = co_await future;
  std::cout << "  connected at attempt " << attempt << " of 5\n";
}

// as_completed() hands out futures as they are done, whatever order they were given in.
cohort::Task<> completing(cohort::AsyncExecutor& executor) {
  std::cout << "as_completed\n ";
  std::vector<cohort::AsyncFuture<int>> futures;
  futures.push_back(executor.submit(after, 180ms, 180));
  futures.push_back(executor.submit(after, 60ms, 60));
  futures.push_back(executor.submit(after, 120ms, 120));
  auto completed = executor.as_completed(futures);
  while (std::optional<cohort::AsyncFuture<int>> future = co_await completed.next()) {
    const int delay = co_await *future;
    std::cout << " after " << delay << " ms;";
  }
  std::cout << " none left\n";
}

// wait() waits for some of the futures or for all of them, says which are done, and gives up after a time if told so.
cohort::Task<> waiting(cohort::AsyncExecutor& executor) {
  std::cout << "wait\n";
  std::vector<cohort::AsyncFuture<int>> futures;
  futures.push_back(executor.submit(after, 300ms, 1));
  futures.push_back(executor.submit(after, 50ms, 2));
  futures.push_back(executor.submit(fail_after, 150ms));
  const auto report = [](const char* title, const cohort::WaitResult<int>& result) {
    std::cout << "  " << title << ": " << result.done.size() << " done, " << result.not_done.size() << " not\n";
  };

  cohort::WaitOptions options{.return_when = cohort::WaitStrategy::first_completed};
  const cohort::WaitResult<int> first = co_await executor.wait(futures, options);
  report("first_completed", first);

  options.return_when = cohort::WaitStrategy::first_exception;
  const cohort::WaitResult<int> broken = co_await executor.wait(futures, options);
  report("first_exception", broken);

  options = {.timeout = 10ms, .return_when = cohort::WaitStrategy::all_completed};
  try {
    co_await executor.wait(futures, options);
  } catch (const cohort::TimeoutError&) {
    std::cout << "  all_completed within 10 ms: no, and nothing is lost by asking\n";
  }

  options.timeout.reset();
  const cohort::WaitResult<int> all = co_await executor.wait(futures, options);
  report("all_completed", all);
}

// A timeout gives up waiting, not the task. Cancelling gives up the task, at the next point where it waits.
cohort::Task<> cancelling(cohort::AsyncExecutor& executor) {
  std::cout << "cancel\n";
  cohort::AsyncFuture<int> slow = executor.submit(after, 1h, 0);
  try {
    co_await slow.result(20ms);
  } catch (const cohort::TimeoutError&) {
    std::cout << "  not done after 20 ms, but still there: " << std::boolalpha << !slow.done() << '\n';
  }
  const bool asked = slow.cancel();
  try {
    co_await slow;
  } catch (const cohort::CancelledError&) {
    std::cout << "  asked to stop: " << asked << ", cancelled: " << slow.cancelled() << '\n';
  }
  const bool again = slow.cancel();
  std::cout << "  nothing left to cancel: " << !again << '\n';
}

cohort::Task<> async_main(cohort::AsyncExecutor& executor) {
  co_await submitting(executor);
  co_await mapping(executor);
  co_await retrying(executor);
  co_await completing(executor);
  co_await waiting(executor);
  co_await cancelling(executor);
}

int main() {
  cohort::AsyncExecutor executor(5);        // five std::jthread workers
  cohort::sync_wait(async_main(executor));  // blocks this thread until the coroutine ends
}  // ~AsyncExecutor: waits for everything submitted
