# θ₀ of tests/metrics/test_thirds.py: ridge logistic regression by optim; and without the ridge by glm, for the slope's sign.
# Rscript reference_firmness.R (R 4.2.2)
r <- c(2, 0, 1, 0, 3, 1, 0, 2)      # third answers of right-taught students, by example
w <- c(1, 2, 0, 1, 0, 2, 3, 1)      # of wrong-taught ones
apart <- c(1.5, -0.5, 0.25, -1, 2, 0, -1.25, 0.75)  # margin of the right teacher minus that of the wrong one
d <- apart / sqrt(mean((apart - mean(apart))^2))
leads <- c(0.5, 1.5, -1, 0, 0.25, -0.75, 2, -0.5)  # lead of the two answers over all others, right minus wrong teacher
e <- leads / sqrt(mean((leads - mean(leads))^2))
loss <- function(b, ridge) { eta <- b[1] + b[2] * d + b[3] * e; sum(w * log1p(exp(-eta)) + r * log1p(exp(eta))) + ridge / 2 * sum(b^2) }
ridged <- optim(c(0, 0, 0), loss, ridge = 0.05, method = "BFGS", control = list(reltol = 1e-16, maxit = 1000))
cat(sprintf("ridge .05: theta0 %.8f beta %.8f gamma %.8f\n", -ridged$par[1], ridged$par[2], ridged$par[3]))
plain <- glm(cbind(w, r) ~ d + e, family = binomial)
cat(sprintf("glm: theta0 %.8f beta %.8f gamma %.8f\n", -coef(plain)[1], coef(plain)[2], coef(plain)[3]))
