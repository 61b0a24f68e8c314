// One socket, one log, one form. Text is put in as text, never as markup.
(function () {
  var lines = document.getElementById("lines");
  var state = document.getElementById("state");
  var form = document.getElementById("say");
  var words = document.getElementById("words");
  var scheme = location.protocol === "https:" ? "wss://" : "ws://";
  var socket = new WebSocket(scheme + location.host + "/chat/socket");
  socket.onopen = function () { state.textContent = "You are connected."; };
  socket.onclose = function () { state.textContent = "The line is dead. Load the page again to redial."; };
  socket.onmessage = function (message) {
    lines.textContent += message.data + "\n";
    lines.scrollTop = lines.scrollHeight;
  };
  form.onsubmit = function (event) {
    event.preventDefault();
    if (socket.readyState === WebSocket.OPEN) { socket.send(words.value); words.value = ""; }
  };
})();
