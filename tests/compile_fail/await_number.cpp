// error: cohort::Task: what is awaited is not awaitable
// Only an awaitable can be awaited.
#include <cohort/task.hpp>

cohort::Task<int> answer() { co_return 42; }

cohort::Task<int> test() {
#ifdef COHORT_MISTAKE
  co_await 42;
#endif
  int value = co_await answer();
  co_return value;
}
