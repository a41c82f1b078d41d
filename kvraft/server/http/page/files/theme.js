// Light, dark, or as the system is.

const THEMES = ["auto", "light", "dark"];
const STORED_AS = "kvraft theme";

export function followTheme(button) {
  let theme = stored();
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem(STORED_AS, theme);
    } catch {
      // it holds until the page is closed
    }
    apply();
  });
  apply();
}

function stored() {
  try {
    const theme = localStorage.getItem(STORED_AS);
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";
  }
}
