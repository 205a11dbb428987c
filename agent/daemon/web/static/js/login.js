// The login form: the token is sent once as a header; the answer sets a cookie that scripts cannot read.

const form = document.getElementById("login");
const answer = document.getElementById("answer");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const bytes = new TextEncoder().encode(document.getElementById("token").value.trim());
  const token = String.fromCharCode(...bytes);
  try {
    const response = await fetch("/login", { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
    if (response.ok) { location.replace("/"); return; }
    answer.textContent = response.status === 401 ? "That is not the token." : `The service answered ${response.status}.`;
  } catch {
    answer.textContent = "The service does not answer.";
  }
});
