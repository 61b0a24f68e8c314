// Listens to the warehouse for as long as the page is open.
(function () {
  var news = document.getElementById("news");
  var queue = document.getElementById("queue");
  var feed = new EventSource("/news/feed");
  feed.addEventListener("open", function () { news.textContent = ""; queue.textContent = "On the air."; });
  feed.addEventListener("error", function () { queue.textContent = "The wire is silent. Trying again ..."; });
  feed.addEventListener("queue", function (event) { queue.textContent = event.data; });
  feed.addEventListener("news", function (event) {
    var item = document.createElement("li");
    item.textContent = event.data;
    news.insertBefore(item, news.firstChild);
  });
})();
