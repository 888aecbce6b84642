// Does nothing for a second, and then waits in each way that has a time. For strace: what it writes says where it is.

#include <cohort/cohort.hpp>

#include <unistd.h>

#include <chrono>
#include <string_view>
#include <thread>
#include <vector>

using namespace cohort;
using namespace std::chrono_literals;

namespace {

void say(std::string_view text) { [[maybe_unused]] const auto written = ::write(1, text.data(), text.size()); }

// Longer than a thread may be kept, on a busy machine, from beginning to wait.
constexpr auto a_while = 1500ms;

Task<int> nap() {
  co_await sleep_for(a_while);
  co_return 1;
}

}  // namespace

int main() {
  const AsyncPromise<int> never;
  const AsyncFuture<int> unset = never.get_future();
  AsyncExecutor executor(4);
  auto waiter = [unset]() -> Task<int> {
    const int value = co_await unset;
    co_return value;
  };
  const AsyncFuture<int> suspended = executor.submit(waiter);
  executor.submit([] {}).get();
  std::this_thread::sleep_for(2s);  // all have gone to sleep

  say("idle\n");
  std::this_thread::sleep_for(1s);
  say("sleep\n");
  executor.submit(nap).get();
  say("wait\n");
  static_cast<void>(unset.wait_for(a_while));
  say("timeout\n");
  executor.submit(SubmitOptions{.timeout = a_while}, waiter).wait();
  say("stream\n");
  const std::vector<AsyncFuture<int>> futures = {unset};
  try {
    for (const AsyncFuture<int>& done : as_completed(futures, a_while)) done.wait();
  } catch (const TimeoutError&) {
  }
  say("sync_wait\n");
  static_cast<void>(sync_wait(nap()));
  say("over\n");
}
