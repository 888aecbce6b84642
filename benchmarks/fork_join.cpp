// Recursive fork-join: fib, skynet, nqueens and matmul, as in the public collections of runtime benchmarks.
//
// Time is per call of fib, leaf of skynet, queen placed, and block multiplied.

#include "contenders/contenders.hpp"
#include "suite/suite.hpp"
#include "suite/workloads.hpp"

#include <algorithm>  // for std::max
#include <cmath>      // for std::log
#include <cstddef>    // for std::size_t
#include <memory>     // for std::shared_ptr

namespace {

using suite::add_call;

// What sizes the scale allows: the number of calls grows with these powers.
int levels_less(double growth) { return static_cast<int>(-std::log(suite::scale()) / std::log(growth) + 0.5); }
int fib_argument(int full) { return std::max(full - levels_less(1.618), 10); }

template <class Contender>
void add_fib(std::size_t workers, int full) {
  const int n = fib_argument(full);
  add_call<Contender>("fib", workers, workloads::fib_calls(n), workloads::fib(n),
                      [n](Contender& contender) { return contender.fib(n); });
}

// All contenders take turns with the same.
std::shared_ptr<workloads::Matrices> matrices_of(int size) {
  static const auto matrices = std::make_shared<workloads::Matrices>(size);
  return matrices;
}

template <class Contender>
void add_all(std::size_t workers) {
  add_fib<Contender>(workers, 34);

  const int depth = std::max(7 - levels_less(10), 3);
  add_call<Contender>("skynet", workers, static_cast<std::size_t>(workloads::skynet_leaves(depth)),
                      workloads::skynet_sum(depth), [depth](Contender& contender) { return contender.skynet(depth); });

  const int queens = std::max(workloads::most_queens - levels_less(5), 6);
  const auto index = static_cast<std::size_t>(queens);
  add_call<Contender>("nqueens", workers, workloads::queens_tasks[index], workloads::queens_solutions[index],
                      [queens](Contender& contender) { return contender.nqueens(queens); });

  const int size = std::max(1024 >> levels_less(8), 128);
  const auto matrices = matrices_of(size);
  add_call<Contender>("matmul", workers, workloads::Matrices::leaves(size), matrices->expected_sum(),
                      [matrices](Contender& contender) {
                        contender.matmul(matrices->start());
                        return matrices->sum();
                      });
}

}  // namespace

void suite::add_cases() {
  add_all<contenders::Serial>(1);
  for (const std::size_t workers : {std::size_t{1}, std::size_t{2}}) {
    add_all<contenders::Cohort>(workers);
    add_all<contenders::CohortWhenAll>(workers);
#if COHORT_BENCHMARK_TBB
    add_all<contenders::Tbb>(workers);
#endif
#if COHORT_BENCHMARK_ASIO && BOOST_VERSION >= 107800
    add_fib<contenders::Asio>(workers, 23);  // a call takes a hundred times as long
#endif
  }
}
