# Makes the tables and the plot of scripts/bench: awk -v results=DIR -v about=TEXT -f report.awk goals.txt NAME.json...
# The files are those that Google Benchmark writes: one key in a line. Of several repetitions the best time counts, and
# the most memory.

function value_of(line) {
  sub(/^[^:]*: */, "", line)
  sub(/,$/, "", line)
  gsub(/"/, "", line)
  return line
}
function least(key, value) { if (!(key in figure) || value < figure[key]) figure[key] = value }
function most(key, value) { if (!(key in figure) || value > figure[key]) figure[key] = value }

FILENAME ~ /goals\.txt$/ {
  if ($0 !~ /^(#|$)/) { ++goals; goal_of[goals] = $1; against[goals] = $2; limit[goals] = $3 }
  next
}

/^ *"name":/ { split("", now); now["name"] = value_of($0); open = 1; next }
open && /^ *"[a-z_0-9]+":/ { key = $1; gsub(/[":]/, "", key); now[key] = value_of($0); next }
open && /^ *}/ {
  open = 0
  if (now["run_type"] != "iteration") next
  name = now["name"]
  sub(/\/(iterations:[0-9]+\/)?(real|manual)_time$/, "", name)
  if (now["error_occurred"] == "true") { print "FAILED: " name ": " now["error_message"]; failed = 1; next }
  split(name, part, "/")
  row = part[1] "/" part[3]
  seen_row[row] = 1
  unit = now["time_unit"] == "s" ? 1 : now["time_unit"] == "ms" ? 1e-3 : now["time_unit"] == "us" ? 1e-6 : 1e-9
  seconds = now["real_time"] * unit
  least(name ":s", seconds)
  least(name ":ns", seconds * 1e9 / now["elements"])
  if ("p50" in now) { least(name ":p50", now["p50"] + 0); least(name ":p99", now["p99"] + 0) }
  if ("bytes" in now) most(name ":bytes", now["bytes"] + 0)
}

# Three digits of a number.
function short(value) {
  if (value == "") return ""
  return sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : value >= 1 ? "%.2f" : "%.3f", value)
}
function get(workload, contender, workers, metric,    key) {
  key = workload "/" contender "/" workers ":" metric
  return key in figure ? figure[key] : ""
}
# The best of the others that do the same.
function best_other(workload, workers, metric,    i, value, best) {
  best = ""
  for (i = 1; i <= contenders; ++i) {
    if (contender_name[i] ~ /^(cohort|serial)/) continue
    value = get(workload, contender_name[i], workers, metric)
    if (value != "" && (best == "" || value < best)) best = value
  }
  return best
}
function ratio(a, b) { return a == "" || b == "" || b == 0 ? "" : a / b }

function add_row(workload, workers, metric, unit,    i, value, ours, text, csv, to_best, to_tbb) {
  ours = get(workload, "cohort", workers, metric)
  to_best = ratio(ours, best_other(workload, workers, metric))
  to_tbb = ratio(ours, get(workload, "tbb", workers, metric))
  text = sprintf("%-24s %2s %-6s", workload, workers, unit ~ /^p/ ? unit " us" : unit)
  for (i = 1; i <= contenders; ++i) {
    value = get(workload, contender_name[i], workers, metric)
    text = text sprintf(" %7s", short(value == "" || unit !~ /^p/ ? value : value / 1000))
  }
  print text sprintf(" %6s %6s", short(to_best), short(to_tbb))
  csv = workload "," workers "," unit
  for (i = 1; i <= contenders; ++i) {
    value = get(workload, contender_name[i], workers, metric)
    csv = csv "," (value == "" ? "" : sprintf("%.6g", value))
  }
  print csv "," short(to_best) "," short(to_tbb) > (results "/results.csv")
}

function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }

# Times per element over the sizes or the numbers of workers in `positions`, both on scales of logarithms: a line for each
# of `series`, whose points are names with %s in the place of the position.
function plot_lines(file, x0, title, positions, series, names,    n, i, k, s, count, at, name, label, x, y, points, lines, colour) {
  n = split(positions, at, " ")
  count = split(series, name, " ")
  split(names, label, ",")
  split("#2b6cb0 #d9772b #4a9a5a #8b5fbf #b03a3a #777777", colour, " ")
  printf "<text x=\"%d\" y=\"18\" font-size=\"14\">%s</text>\n", x0, title > file
  for (k = 1; k <= 4; ++k) {
    y = 340 - 95 * (k - 1)
    printf "<line x1=\"%d\" y1=\"%.0f\" x2=\"%d\" y2=\"%.0f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%d ns</text>\n", x0 + 40, y, x0 + 380, y, x0 + 36, y + 4, 10 ^ k > file
  }
  for (i = 1; i <= n; ++i) printf "<text x=\"%.0f\" y=\"360\" text-anchor=\"middle\">%s</text>\n", x0 + 50 + 320 * (i - 1) / (n - 1), at[i] > file
  lines = 0
  for (s = 1; s <= count; ++s) {
    points = ""
    for (i = 1; i <= n; ++i) {
      k = name[s] ":ns"
      sub(/%s/, at[i], k)
      if (!(k in figure)) continue
      x = x0 + 50 + 320 * (i - 1) / (n - 1)
      y = 340 - 95 * (log(figure[k]) / log(10) - 1)
      points = points sprintf("%.1f,%.1f ", x, y < 30 ? 30 : y)
    }
    if (points == "") continue
    ++lines
    printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", points, colour[s] > file
    printf "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", x0 + 50, 372 + 14 * lines, colour[s], label[s] > file
  }
}
function plot_growth(file) {
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"460\" font-family=\"sans-serif\" font-size=\"11\">\n" > file
  printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n" > file
  plot_lines(file, 10, "A future, of so many", "1e4 1e5 1e6",
             "as_completed_done_%s/cohort/1 as_completed_pending_%s/cohort/1 wait_done_%s/cohort/1 wait_pending_%s/cohort/1",
             "as_completed: done,as_completed: run meanwhile,wait: done,wait: run meanwhile")
  plot_lines(file, 420, "A submission, by so many threads to so many workers", "1 2 4 8 16 32 64",
             "contended/cohort/%s contended/tbb/%s contended/asio/%s contended/plain_pool/%s", "cohort,oneTBB,Asio,plain pool")
  print "</svg>" > file
}

END {
  contenders = split("cohort cohort_when_all serial tbb tbb_group asio plain_pool std_async xargs", contender_name, " ")
  print about
  split("cohort whenall serial tbb group asio plain async xargs", title, " ")
  header = sprintf("%-24s %2s %-6s", "workload", "w", "unit")
  csv = "workload,workers,unit"
  for (i = 1; i <= contenders; ++i) {
    header = header sprintf(" %7s", title[i])
    csv = csv "," contender_name[i]
  }
  print ""
  print header sprintf(" %6s %6s", "/best", "/tbb")
  print csv ",to_best,to_tbb" > (results "/results.csv")
  # In an order of their own, whatever the one in which they were run.
  order = "fib skynet nqueens matmul submit1 submit2 nested nested_seq switch pingpong pingpong_pinned cold_ping timers pending"
  order = order " map map_chunks"
  for (each = split("as_completed_done as_completed_pending wait_done wait_pending", kind, " "); each > 0; --each)
    later = " " kind[each] "_1e4 " kind[each] "_1e5 " kind[each] "_1e6" later
  places = split(order later " contended functions programs", place, " ")
  for (p = 1; p <= places; ++p) for (workers = 1; workers <= 64; ++workers) {
    workload = place[p]
    if (!((workload "/" workers) in seen_row)) continue
    name = workload "/cohort/" workers
    if ((name ":bytes") in figure) add_row(workload, workers, "s", "s")
    else if (!((name ":p50") in figure)) add_row(workload, workers, "ns", "ns")
    if ((name ":p50") in figure) { add_row(workload, workers, "p50", "p50"); add_row(workload, workers, "p99", "p99") }
    if ((name ":bytes") in figure) add_row(workload, workers, "bytes", "bytes")
  }

  print ""
  printf "%-72s %9s %9s  %s\n", "goal", "is", "at most", ""
  print "goal,is,at_most,met" > (results "/goals.csv")
  for (g = 1; g <= goals; ++g) {
    split(goal_of[g], part, ":")
    metric = part[2] == "" ? "ns" : part[2]
    split(part[1], part, "/")
    is = get(part[1], part[2], part[3], metric)
    if (against[g] == "best") {
      is = ratio(is, best_other(part[1], part[3], metric))
      text = goal_of[g] " / the best other"
    } else if (against[g] == "-") {
      text = goal_of[g] (metric == "ns" ? ", ns" : metric == "p50" || metric == "p99" ? ", ns" : "")
    } else {
      split(against[g], other, ":")
      split(other[1], other, "/")
      is = ratio(is, get(other[1], other[2], other[3], metric))
      text = goal_of[g] " / " against[g]
    }
    if (is == "") continue
    ++shown
    met = is <= limit[g] + 0
    all_met += met
    printf "%-72s %9s %9s  %s\n", text, short(is), short(limit[g] + 0), met ? "met" : "missed"
    printf "%s,%.6g,%s,%s\n", text, is, limit[g], met ? "yes" : "no" > (results "/goals.csv")
    bar_text[shown] = text
    bar_is[shown] = is
    bar_limit[shown] = limit[g] + 0
  }
  if (shown) printf "%d of %d goals are met.\n", all_met, shown

  # The plot: each figure as a multiple of what it may be at most, on a scale of logarithms; left of 1 is good.
  file = results "/goals.svg"
  left = 470; plot = 400; step = 20; top = 56
  height = top + shown * step + 16
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1040\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", height > file
  printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n" > file
  printf "<text x=\"10\" y=\"18\" font-size=\"14\">Each figure as a multiple of its goal: 1 and less is met</text>\n" > file
  printf "<text x=\"10\" y=\"34\" fill=\"#666\" font-size=\"10\">%s</text>\n", escaped(about) > file
  lines = split("0.1 0.2 0.5 1 2 5 10", tick, " ")
  for (i = 1; i <= lines; ++i) {
    x = left + plot * (log(tick[i]) / log(10) + 1) / 2
    printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"%s\"/>\n", x, top - 4, x, height - 12, tick[i] == 1 ? "#333" : "#ddd" > file
    printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" font-size=\"10\">%s</text>\n", x, top - 8, tick[i] > file
  }
  for (i = 1; i <= shown; ++i) {
    y = top + (i - 1) * step
    multiple = bar_is[i] / bar_limit[i]
    met = multiple <= 1
    clipped = multiple < 0.1 ? 0.1 : multiple > 10 ? 10 : multiple
    x = plot * (log(clipped) / log(10) + 1) / 2
    start = met ? x : plot / 2
    printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" font-size=\"11\">%s</text>\n", left - 8, y + 13, escaped(bar_text[i]) > file
    printf "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"14\" fill=\"%s\"/>\n", left + start, y + 2, met ? plot / 2 - x : x - plot / 2, met ? "#4a9a5a" : "#d9772b" > file
    printf "<text x=\"%d\" y=\"%d\" font-size=\"11\">%s of %s</text>\n", left + plot + 12, y + 13, short(bar_is[i]), short(bar_limit[i]) > file
  }
  print "</svg>" > file
  plot_growth(results "/growth.svg")
  exit failed
}
