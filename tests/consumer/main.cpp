// What the four consumers build: a task with a result, a thread pool, and a coroutine that waits for it.
#include <chrono>
#include <cohort/cohort.hpp>
#include <iostream>

cohort::Task<int> twice(int x) {
  co_await cohort::sleep_for(std::chrono::milliseconds(1));
  co_return 2 * x;
}

cohort::Task<int> sum(cohort::AsyncExecutor& executor) {
  cohort::AsyncFuture<int> future = executor.submit(twice, 10);
  int first = co_await future;
  int second = co_await twice(11);
  co_return first + second;
}

int main() {
  cohort::AsyncExecutor executor(2);
  std::cout << cohort::sync_wait(sum(executor)) << '\n';
}
