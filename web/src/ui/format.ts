// Values as people read them. Sizes are binary (GiB), as the field counts disks; the exact value
// belongs beside it, on hover (`exactBytes`, `exactTime`). Nothing here knows React.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;
const exact = new Intl.NumberFormat("en-US");
// Made once: a table asks a hundred times for each drawing, and making one takes longest.
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
});
const hourAndMinute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const timeOfDay = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const instant = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

/** A formatter of `Intl` throws for what is no time; a page must not. */
function said(format: Intl.DateTimeFormat, moment: Date): string {
  return Number.isNaN(moment.getTime()) ? "–" : format.format(moment);
}

/** Three significant digits at most: `1.23 GiB`, `45.6 MiB`, `789 KiB`. */
export function bytes(value: number): string {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return `${value < 0 ? "−" : ""}${size.toFixed(digits)} ${UNITS[unit]}`;
}

export function exactBytes(value: number): string {
  return `${exact.format(value)} bytes`;
}

/** Bytes a second. */
export function rate(bytesPerSecond: number): string {
  return `${bytes(bytesPerSecond)}/s`;
}

export function count(value: number): string {
  return exact.format(value);
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function percent(value: number): string {
  const digits = value > 0 && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)}%`;
}

export function ratio(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)}×`;
}

/** `< 1 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `4 d 3 h`. */
export function duration(seconds: number): string {
  if (seconds > 0 && seconds < 0.95) return "< 1 s";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `just now`, `12 min ago`, `in 3 h`, `yesterday`, `5 days ago`, then the date. */
export function ago(time: string | Date, now: Date = new Date()): string {
  const moment = new Date(time);
  const seconds = Math.round((now.getTime() - moment.getTime()) / 1000);
  const past = seconds >= 0;
  const span = Math.abs(seconds);
  const say = (text: string) => (past ? `${text} ago` : `in ${text}`);
  if (span < 45) return past ? "just now" : "in a moment";
  if (span < 3570) return say(`${Math.round(span / 60)} min`);
  if (span < 22 * 3600) return say(`${Math.round(span / 3600)} h`);
  const days = Math.max(1, Math.abs(dayOf(now) - dayOf(moment)));
  if (days <= 1) return past ? "yesterday" : "tomorrow";
  if (days < 30) return say(`${days} days`);
  return shortDate(moment, now);
}

/** Days as calendars count them, in the browser's zone. */
function dayOf(moment: Date): number {
  return Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate()) / 86_400_000;
}

export function shortDate(time: string | Date, now: Date = new Date()): string {
  const moment = new Date(time);
  return said(moment.getFullYear() === now.getFullYear() ? day : dayOfYear, moment);
}

/** `26 Nov, 11:08` in the browser's zone; with the year when it is another one. */
export function shortTime(time: string | Date, now: Date = new Date()): string {
  const moment = new Date(time);
  return `${shortDate(moment, now)}, ${said(hourAndMinute, moment)}`;
}

/** `11:08:42.123`, for log lines. */
export function clockTime(time: string | Date): string {
  const moment = new Date(time);
  const milliseconds = String(moment.getMilliseconds()).padStart(3, "0");
  return `${said(timeOfDay, moment)}.${milliseconds}`;
}

/** The whole instant with its zone, for hovering. */
export function exactTime(time: string | Date): string {
  return said(instant, new Date(time));
}

/** With a capital letter at its beginning; the rest, such as names, as it is. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `shut_off` → `Shut off`. */
export function words(name: string): string {
  const text = name.replaceAll(/[_-]/g, " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
