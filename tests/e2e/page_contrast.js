// Texts whose contrast is below that of WCAG 2.2, level AA (1.4.3).
() => {
  const light = (color) => {
    const parts = color.match(/[0-9.]+/g).map(Number);
    const linear = parts.slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = new Set();
  for (const each of document.querySelectorAll('body *')) {
    const hasText = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasText || !each.checkVisibility() || each.disabled || each.closest(':disabled, .visually-hidden, .skip')) continue;
    const [one, other] = [light(getComputedStyle(each).color), light(ground(each))].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) found.add(`${each.tagName} ${each.id || each.className}: ${each.textContent.trim().slice(0, 40)}`);
  }
  return [...found];
}
