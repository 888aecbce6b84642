// error: no matching function for call to [^ ]*when_all
// when_all takes awaitables, each of them.
#include <cohort/task.hpp>
#include <cohort/when_all.hpp>

cohort::Task<int> answer() { co_return 42; }

cohort::Task<> test() {
#ifdef COHORT_MISTAKE
  auto both = co_await cohort::when_all(answer(), 42);
#else
  auto both = co_await cohort::when_all(answer(), answer());
#endif
  static_cast<void>(both);
}
