# The values from R in tests/stats/test_ranks.py: Rscript tests/stats/reference_ranks.R. Base R alone.
options(digits = 15)
cat(R.version.string, "\n")
sides <- c("two.sided", "greater", "less")

x <- c(0.912, 0.931, 0.874, 0.957, 0.903, 0.942, 0.889, 0.968)
y <- c(0.894, 0.935, 0.851, 0.921, 0.892, 0.913, 0.882)
cat("\nwilcox.test, exact, no ties\n")
for (side in sides) {
  w <- wilcox.test(x, y, alternative = side, exact = TRUE)
  cat(side, unname(w$statistic), w$p.value, "\n")
}
for (level in c(0.9, 0.95, 0.99)) {
  w <- wilcox.test(x, y, exact = TRUE, conf.int = TRUE, conf.level = level)
  cat(level, unname(w$estimate), w$conf.int, "\n")
}

cat("\nMann-Whitney with ties by combn(): P(U >= u), P(U <= u)\n")
u_of <- function(a, b) sum(outer(a, b, ">")) + sum(outer(a, b, "==")) / 2
tied <- function(a, b) {
  all <- c(a, b)
  us <- combn(length(all), length(a), function(i) u_of(all[i], all[-i]))
  cat(u_of(a, b), mean(us >= u_of(a, b)), mean(us <= u_of(a, b)), "\n")
}
tied(c(3, 5, 5, 6, 8, 9, 9), c(1, 2, 3, 3, 5, 6))
tied(c(1, 1, 2, 2, 2), c(1, 2, 3, 3, 3, 3, 4))

cat("\nJonckheere-Terpstra by combn() in combn(): J, P(J >= j), P(J <= j)\n")
j_of <- function(groups) {
  k <- length(groups)
  sum(sapply(seq_len(k - 1), function(a) sum(sapply((a + 1):k, function(b) u_of(groups[[b]], groups[[a]])))))
}
assignments <- function(all, sizes) { # every J
  if (length(sizes) == 1) return(list(list(all)))
  chosen <- combn(length(all), sizes[1], simplify = FALSE)
  do.call(c, lapply(chosen, function(i) lapply(assignments(all[-i], sizes[-1]), function(rest) c(list(all[i]), rest))))
}
ladder <- function(groups) {
  js <- sapply(assignments(unlist(groups), lengths(groups)), j_of)
  j <- j_of(groups)
  cat(j, mean(js >= j), mean(js <= j), "of", length(js), "\n")
}
ladder(list(c(3, 5, 4), c(5, 6, 6), c(6, 7, 9)))
ladder(list(c(2.1, 4.3), c(3.2, 4.4, 5.6), c(3.9, 5.1, 6.3)))
ladder(list(c(1, 1, 2), c(2, 1), c(2, 2), c(3, 2)))

cat("\nPage's L with ties, all orders of every block: L, P(L >= l), P(L <= l)\n")
orders <- function(v) if (length(v) <= 1) list(v) else do.call(c, lapply(seq_along(v), function(i)
  lapply(orders(v[-i]), function(rest) c(v[i], rest))))
blocks <- rbind(c(1, 2, 2, 3), c(2, 1, 3, 3), c(1, 1, 2, 2))
ranks <- t(apply(blocks, 1, rank))
sums <- 0
for (i in 1:3) sums <- as.vector(outer(sums, sapply(orders(ranks[i, ]), function(r) sum(r * 1:4)), "+"))
l <- sum(ranks %*% 1:4)
cat(l, mean(sums >= l), mean(sums <= l), "of", length(sums), "\n")

cat("\nfriedman.test: statistic; P(chi2 >= statistic) over all orders of all blocks\n")
friedman <- function(m, count) {
  f <- friedman.test(m)
  cat(unname(f$statistic))
  if (count) {
    r <- t(apply(m, 1, rank))
    totals <- list(r[1, ])
    for (i in 2:nrow(m)) totals <- do.call(c, lapply(totals, function(t) lapply(orders(r[i, ]), function(o) t + o)))
    spread <- sapply(totals, function(t) sum((t - mean(t))^2))
    cat("", mean(spread >= sum((colSums(r) - mean(colSums(r)))^2) - 1e-9))
  }
  cat("\n")
}
friedman(rbind(c(0.81, 0.84, 0.86), c(0.78, 0.80, 0.83), c(0.80, 0.79, 0.85), c(0.82, 0.83, 0.84)), TRUE)
friedman(rbind(c(1, 2, 2, 3), c(2, 1, 3, 3), c(1, 1, 2, 2), c(1, 4, 2, 3)), TRUE)
friedman(rbind(c(1, 2, 2, 3, 5), c(2, 1, 3, 3, 4), c(1, 1, 2, 2, 2), c(1, 4, 2, 3, 5), c(5, 4, 3, 2, 1),
  c(1, 3, 2, 5, 4)), FALSE)

cat("\nCliff's delta: delta, standard error, 95 % interval by roots of its defining equation, p at delta 0\n")
cliff <- function(a, b) {
  d <- sign(outer(a, b, "-")); n <- length(a); m <- length(b)
  v <- ((m - 1) * var(rowMeans(d)) + (n - 1) * var(colMeans(d)) + mean((d - mean(d))^2)) / (n * m)
  z <- function(delta) (mean(d) - delta) / sqrt(v * (1 - delta^2) / (1 - mean(d)^2))
  end <- function(at, low, high) uniroot(function(t) z(t) - at, c(low, high), tol = 1e-15)$root
  eps <- 1e-12
  cat(mean(d), sqrt(v), end(qnorm(0.975), -1 + eps, mean(d)), end(-qnorm(0.975), mean(d), 1 - eps),
    2 * pnorm(-abs(z(0))), "\n")
}
cliff(x, y)
cliff(c(3, 5, 5, 6, 8, 9, 9), c(1, 2, 3, 3, 5, 6))
