# Writes an access log of n lines, the same for the same seed:
#   awk -v n=400 -v seed=1 -f make-log.awk
function draw(below) { # whole numbers below 2^31 are exact in any awk
	state = (state * 16807) % 2147483647
	return int(state / 2147483647 * below)
}
BEGIN {
	state = seed + 1
	split("/ /login /search /cart /api/items /api/items/42 /static/app.js /static/app.css /about /missing", path, " ")
	split("200 200 200 200 200 200 304 404 500 301", status, " ")
	split("GET GET GET POST", method, " ")
	for (i = 0; i < n; i++) {
		second = int(i * 7200 / n)
		p = int(draw(100) * draw(100) / 1000) + 1
		printf "10.0.%d.%d - - [01/Mar/2026:%02d:%02d:%02d +0000] \"%s %s HTTP/1.1\" %s %d \"-\" \"agent/%d.0\" %.3f\n",
			draw(256), draw(256), 17 + int(second / 3600), int(second / 60) % 60, second % 60,
			method[draw(4) + 1], path[p] (draw(10) == 0 ? "?q=" draw(100) : ""), status[draw(10) + 1], draw(20000), draw(9) + 1,
			draw(1000) * draw(1000) / 1000000
		if (draw(100) == 0) print "a line that is none of a log"
	}
}
