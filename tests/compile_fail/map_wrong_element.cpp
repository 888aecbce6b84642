// error: the callable cannot be called with these arguments
// The function given to map must take the elements of the range.
#include <cohort/cohort.hpp>

#include <string>
#include <vector>

int twice(int x) { return 2 * x; }

void test(cohort::AsyncExecutor& executor, std::vector<int> numbers, std::vector<std::string> texts) {
  auto results = executor.map(twice, numbers);
#ifdef COHORT_MISTAKE
  auto others = executor.map(twice, texts);
#else
  static_cast<void>(texts);
#endif
}
