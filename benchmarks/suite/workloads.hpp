// The recursive workloads: what there is to compute, whoever schedules it, and what has to come out.
#pragma once

#include <array>    // for std::array
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::int8_t
#include <vector>   // for std::vector

namespace workloads {

// fib: each call makes two.
[[nodiscard]] constexpr long fib(int n) {
  long last = 0;
  long next = 1;
  for (int i = 0; i < n; ++i) {
    const long sum = last + next;
    last = next;
    next = sum;
  }
  return last;
}
/// How many calls the recursion makes, the first included.
[[nodiscard]] constexpr std::size_t fib_calls(int n) { return static_cast<std::size_t>(2 * fib(n + 1) - 1); }

// skynet: a tree of ten children each; the leaves give their numbers, which are added up.
inline constexpr int skynet_width = 10;
[[nodiscard]] constexpr long skynet_leaves(int depth) {
  return depth == 0 ? 1 : skynet_width * skynet_leaves(depth - 1);
}
[[nodiscard]] constexpr long skynet_sum(int depth) { return skynet_leaves(depth) * (skynet_leaves(depth) - 1) / 2; }

// nqueens: a task for each queen that can be placed, counting the ways to place the rest.
inline constexpr int most_queens = 13;
using Board = std::array<std::int8_t, 16>;  // the row of each column's queen
[[nodiscard]] inline bool may_place(const Board& board, int column, int row) {
  for (int other = 0; other < column; ++other) {
    const int distance = column - other;
    const int difference = row - board[static_cast<std::size_t>(other)];
    if (difference == 0 || difference == distance || difference == -distance) return false;
  }
  return true;
}
[[nodiscard]] inline Board placed(Board board, int column, int row) {
  board[static_cast<std::size_t>(column)] = static_cast<std::int8_t>(row);
  return board;
}
inline constexpr std::array<long, most_queens + 1> queens_solutions = {1,  1,  0,   0,   2,    10,    4,
                                                                       40, 92, 352, 724, 2680, 14200, 73712};
/// Tasks, the first included.
inline constexpr std::array<std::size_t, most_queens + 1> queens_tasks = {
    1, 2, 3, 6, 17, 54, 153, 552, 2057, 8394, 35539, 166926, 856189, 4674890};

// matmul: each block of the product is the sum of two products of smaller blocks; four at a time can be done at once.
inline constexpr int matmul_leaf = 32;
struct Block {
  const int* a;
  const int* b;
  int* c;
  int size;
  int stride;

  /// One of the eight products of the quarters; those of one half go to different quarters of c.
  [[nodiscard]] Block part(int row, int column, int half) const {
    const int part_size = size / 2;
    return {a + row * part_size * stride + half * part_size, b + half * part_size * stride + column * part_size,
            c + row * part_size * stride + column * part_size, part_size, stride};
  }
};
/// c += a * b, of a block that is not split any more.
void multiply(const Block& block);

class Matrices {
 public:
  explicit Matrices(int size);
  /// The whole task, with nothing done yet.
  [[nodiscard]] Block start();
  [[nodiscard]] long sum() const;
  [[nodiscard]] long expected_sum() const;
  [[nodiscard]] static std::size_t leaves(int size);

 private:
  int size_;
  std::vector<int> a_, b_, c_;
};

}  // namespace workloads
