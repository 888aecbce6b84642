// error: A Task is awaited as an rvalue
// Awaiting a task uses it up, so the awaiter has to say that it gives the task away.
#include <cohort/task.hpp>

#include <utility>

cohort::Task<int> answer() { co_return 42; }

cohort::Task<int> test() {
  cohort::Task<int> task = answer();
#ifdef COHORT_MISTAKE
  int value = co_await task;
#else
  int value = co_await std::move(task);
#endif
  co_return value;
}
